//! Delivery of a table's changes to its global index, while everything goes on. The rules are those of the node's own worker
//! (`node/src/serving/delivery/worker.rs`), by hand and in one thread:
//!
//! 1. Wherever a partition of the table is led, a worker begins behind what every partition of the index has, and reads the
//!    change log behind its cursor, session first.
//! 2. The ancestors' sessions are closed where nothing has been delivered from here yet; then the rows go where the directory
//!    says that they belong. The directory may be old.
//! 3. What is sent is on its way: it arrives late, or never, also when its sender has died or leads no more. Who waits for an
//!    answer loses patience and begins anew.
//! 4. Now and then the log is trimmed behind what all have.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use partita_model::key::KeyBytes;
use partita_model::request::Refusal;
use partita_partition::command::{Command, CommandReply, IndexBatch, IndexRow, Session};
use partita_partition::descriptor::{GroupId, ItemTime};
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::Group;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use crate::table::{INDEX, INDEXED};
use crate::world::{MS, SECOND, World};

/// How long a worker waits for an answer, and how long after a failure.
const PATIENCE_NS: u64 = SECOND;
const PAUSE_NS: u64 = 50 * MS;
/// Records of one round: few, so that a cursor often stands in the middle of something, and enough to keep up.
const ROUND_RECORDS_MAX: usize = 16;
/// Rounds between two trims.
const TRIM_ROUNDS: u32 = 8;
/// Of a hundred calls so many come late; and so many looks at the directory show what it knew before.
const LATE: u32 = 4;
const OLD_DIRECTORY: u32 = 50;
/// How often they look.
const LOOK_NS: u64 = 20 * MS;

type Sim = Group<MemoryStorage>;

/// A partition of the index, where it is led.
#[derive(Clone)]
struct Target {
    machine: usize,
    /// The process that was asked about: a later one knows nothing of it.
    incarnation: u64,
    group: Arc<Sim>,
    start: KeyBytes,
    end: Option<KeyBytes>,
}

/// Something that is on its way to a machine, or at work there.
struct Call {
    at: u64,
    machine: usize,
    incarnation: u64,
    run: Pin<Box<dyn Future<Output = ()>>>,
}

struct Worker {
    source: GroupId,
    machine: usize,
    incarnation: u64,
    doing: Rc<Cell<&'static str>>,
    run: Pin<Box<dyn Future<Output = ()>>>,
}

/// What workers see of the world.
struct Shared {
    now: Cell<u64>,
    random: RefCell<SmallRng>,
    cut: RefCell<HashSet<(usize, usize)>>,
    directory: RefCell<Vec<Target>>,
    calls: RefCell<Vec<Call>>,
    /// Nothing comes late any more.
    healing: Cell<bool>,
    /// Batches that were refused because somebody else delivers by now.
    deposed: Cell<u64>,
    batches: Cell<u64>,
}

pub struct Deliverer {
    shared: Rc<Shared>,
    /// When it looks around next, for leaders of both.
    looks_at: u64,
    workers: Vec<Worker>,
}

impl Deliverer {
    pub fn new(seed: u64) -> Self {
        Self {
            shared: Rc::new(Shared {
                now: Cell::new(0),
                random: RefCell::new(SmallRng::seed_from_u64(seed)),
                cut: RefCell::default(),
                directory: RefCell::default(),
                calls: RefCell::default(),
                healing: Cell::new(false),
                deposed: Cell::new(0),
                batches: Cell::new(0),
            }),
            looks_at: 0,
            workers: Vec::new(),
        }
    }

    /// Batches that were delivered, and those that came from somebody deposed.
    pub fn batches(&self) -> (u64, u64) {
        (self.shared.batches.get(), self.shared.deposed.get())
    }

    /// What each worker is about to do.
    pub fn doing(&self) -> Vec<(u64, usize, &'static str)> {
        let workers = self.workers.iter();
        workers
            .map(|worker| (worker.source.0, worker.machine, worker.doing.get()))
            .collect()
    }

    pub fn step(&mut self, world: &mut World) {
        let shared = Rc::clone(&self.shared);
        shared.now.set(world.now);
        shared.healing.set(world.healing);
        shared.cut.borrow_mut().clone_from(world.network.severed());
        if world.now >= self.looks_at {
            self.looks_at = world.now + LOOK_NS;
            let old = !world.healing && shared.random.borrow_mut().random_ratio(OLD_DIRECTORY, 100);
            if (!old || shared.directory.borrow().is_empty())
                && let Some(directory) = look_around(world)
            {
                *shared.directory.borrow_mut() = directory;
            }
            self.start_workers(world);
        }
        let mut context = Context::from_waker(Waker::noop());
        let runs = |world: &World, machine: usize| world.machines[machine].stopped_until <= world.now;
        let lives = |world: &World, machine: usize, incarnation: u64| {
            world.machines[machine].is_up() && world.machines[machine].incarnation == incarnation
        };
        let calls = shared.calls.take();
        for mut call in calls {
            let (machine, incarnation) = (call.machine, call.incarnation);
            if !lives(world, machine, incarnation) {
                continue;
            }
            let waits = call.at > world.now || !runs(world, machine);
            let done = !waits && call.run.as_mut().poll(&mut context).is_ready();
            if !waits {
                world.after(machine);
            }
            if !done {
                shared.calls.borrow_mut().push(call);
            }
        }
        for mut worker in std::mem::take(&mut self.workers) {
            let (machine, incarnation) = (worker.machine, worker.incarnation);
            // It ends with its process, and with its partition.
            if !lives(world, machine, incarnation) || world.machines[machine].group(worker.source).is_none() {
                continue;
            }
            let done = runs(world, machine) && worker.run.as_mut().poll(&mut context).is_ready();
            world.after(machine);
            if !done {
                self.workers.push(worker);
            }
        }
    }

    /// Each partition of the table that is led somewhere has a worker there.
    fn start_workers(&mut self, world: &World) {
        for machine in &world.machines {
            for group in machine.store.iter().flat_map(|store| store.groups()) {
                let is_here = |worker: &Worker| {
                    (worker.source, worker.machine, worker.incarnation)
                        == (group.id(), machine.number, machine.incarnation)
                };
                if group.descriptor().table.0 == INDEXED.0 && leads(&group) && !self.workers.iter().any(is_here) {
                    let source = group.id();
                    let rounds = Rounds::new(Rc::clone(&self.shared), machine.number, group);
                    self.workers.push(Worker {
                        source,
                        machine: machine.number,
                        incarnation: machine.incarnation,
                        doing: Rc::clone(&rounds.doing),
                        run: Box::pin(rounds.work()),
                    });
                }
            }
        }
    }
}

fn leads(group: &Sim) -> bool {
    group.stats().leader
}

/// What the directory says: nothing as long as there is a gap.
fn look_around(world: &World) -> Option<Vec<Target>> {
    let mut targets = Vec::new();
    for id in world.groups() {
        let Some(leader) = world.raft_leader(id) else { continue };
        let machine = &world.machines[leader];
        let Some(group) = machine.group(id) else { continue };
        let descriptor = group.descriptor();
        if descriptor.table.0 == INDEX.0 {
            targets.push(Target {
                machine: leader,
                incarnation: machine.incarnation,
                group,
                start: descriptor.start.clone(),
                end: descriptor.end.clone(),
            });
        }
    }
    targets.sort_by(|one, other| one.start.cmp(&other.start));
    let begins = targets.first().is_some_and(|first| first.start == KeyBytes::default());
    let ends = targets.last().is_some_and(|last| last.end.is_none());
    let joined = targets
        .windows(2)
        .all(|pair| pair[0].end.as_ref() == Some(&pair[1].start));
    (begins && ends && joined).then_some(targets)
}

impl Shared {
    async fn sleep(&self, ns: u64) {
        let until = self.now.get() + ns;
        std::future::poll_fn(|_| match self.now.get() >= until {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
    }

    /// Asks a partition of the index something; `None` when there is no answer, or a refusal.
    async fn call<T: 'static>(
        self: &Rc<Self>,
        from: usize,
        target: &Target,
        ask: impl Future<Output = Result<T, Refusal>> + 'static,
    ) -> Option<T> {
        let to = target.machine;
        let answer = Rc::new(RefCell::new(None));
        let (late, passes) = (self.lateness(from, to), !self.cut.borrow().contains(&(from, to)));
        if passes {
            let answer = Rc::clone(&answer);
            self.calls.borrow_mut().push(Call {
                at: self.now.get() + late,
                machine: to,
                incarnation: target.incarnation,
                run: Box::pin(async move {
                    let said = ask.await;
                    *answer.borrow_mut() = Some(said);
                }),
            });
        }
        let until = self.now.get() + PATIENCE_NS;
        let answered = std::future::poll_fn(|_| {
            if !self.cut.borrow().contains(&(to, from))
                && let Some(said) = answer.borrow_mut().take()
            {
                return Poll::Ready(Some(said));
            }
            match self.now.get() >= until {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        });
        answered.await?.ok()
    }

    fn lateness(&self, from: usize, to: usize) -> u64 {
        let mut random = self.random.borrow_mut();
        match from == to {
            true => 0,
            false if !self.healing.get() && random.random_ratio(LATE, 100) => random.random_range(10 * MS..4 * SECOND),
            false => random.random_range(MS / 5..2 * MS),
        }
    }
}

/// A worker at work.
struct Rounds {
    shared: Rc<Shared>,
    machine: usize,
    source: Arc<Sim>,
    cursor: ItemTime,
    ancestors: Vec<(GroupId, u64)>,
    closed: HashSet<GroupId>,
    range_epoch: u64,
    positions: HashMap<GroupId, ItemTime>,
    untrimmed_rounds: u32,
    /// For whoever wants to know why nothing is delivered.
    doing: Rc<Cell<&'static str>>,
}

impl Rounds {
    fn new(shared: Rc<Shared>, machine: usize, source: Arc<Sim>) -> Self {
        Self {
            shared,
            machine,
            source,
            cursor: ItemTime::default(),
            ancestors: Vec::new(),
            closed: HashSet::new(),
            range_epoch: 0,
            positions: HashMap::new(),
            untrimmed_rounds: 0,
            doing: Rc::default(),
        }
    }

    async fn work(mut self) {
        while leads(&self.source) {
            // Whatever fails: it begins anew.
            let _ = self.attempt().await;
            self.positions.clear();
            self.doing.set("wait after a failure");
            self.shared.sleep(PAUSE_NS).await;
        }
    }

    async fn attempt(&mut self) -> Option<()> {
        self.start().await?;
        while leads(&self.source) {
            while self.round().await? {}
            if self.untrimmed_rounds >= TRIM_ROUNDS {
                self.trim().await?;
            }
            self.doing.set("sleep");
            self.shared.sleep(MS).await;
        }
        Some(())
    }

    async fn start(&mut self) -> Option<()> {
        self.range_epoch = 0;
        self.session().await?;
        let mut slowest = None;
        for target in self.targets()? {
            let position = self.position(&target).await?;
            slowest = Some(slowest.map_or(position, |known: ItemTime| known.min(position)));
        }
        self.cursor = slowest.unwrap_or_default();
        Some(())
    }

    async fn session(&mut self) -> Option<Session> {
        let session = Session {
            range_epoch: self.source.descriptor().range_epoch,
            term: self.source.stats().term,
        };
        if session.range_epoch != self.range_epoch {
            self.doing.set("read its lineage");
            self.ancestors = self.source.lineage().await.ok()?.ancestors;
            self.closed.clear();
            self.range_epoch = session.range_epoch;
        }
        Some(session)
    }

    fn targets(&self) -> Option<Vec<Target>> {
        let targets = self.shared.directory.borrow().clone();
        (!targets.is_empty()).then_some(targets)
    }

    async fn position(&mut self, target: &Target) -> Option<ItemTime> {
        if let Some(known) = self.positions.get(&target.group.id()) {
            return Some(*known);
        }
        let (group, source) = (Arc::clone(&target.group), self.source.id());
        self.doing.set("ask for a position");
        let ask = async move { group.position(source).await };
        let recorded = self.shared.call(self.machine, target, ask).await?;
        let position = recorded.map_or(ItemTime::default(), |delivered| delivered.through);
        self.positions.insert(target.group.id(), position);
        Some(position)
    }

    async fn round(&mut self) -> Option<bool> {
        let session = self.session().await?;
        let clock = self.source.stats().counters.clock;
        self.doing.set("read the change log");
        let records = self.source.changes(self.cursor, ROUND_RECORDS_MAX, usize::MAX).await;
        let records = records.ok()?;
        let times: Vec<_> = [self.cursor]
            .into_iter()
            .chain(records.iter().map(|record| record.time))
            .collect();
        assert!(
            times.is_sorted_by(|one, other| one < other),
            "a change log is out of order: {times:?}"
        );
        let Some(last) = records.last().map(|record| record.time) else {
            self.cursor = self.cursor.max(clock);
            return Some(false);
        };
        let targets = self.targets()?;
        let mut batches: HashMap<GroupId, (Target, Vec<IndexRow>)> = HashMap::new();
        for record in records {
            for (_, key, change) in record.rows {
                let target = targets.iter().rfind(|target| target.start <= key)?;
                let row = IndexRow {
                    time: record.time,
                    key,
                    change,
                };
                let batch = batches
                    .entry(target.group.id())
                    .or_insert_with(|| (target.clone(), Vec::new()));
                batch.1.push(row);
            }
        }
        let mut batches: Vec<_> = batches.into_values().collect();
        batches.sort_by_key(|batch| batch.0.group.id());
        self.send(batches, session, last).await?;
        self.untrimmed_rounds += 1;
        self.cursor = self.cursor.max(last);
        Some(true)
    }

    async fn send(&mut self, batches: Vec<(Target, Vec<IndexRow>)>, session: Session, through: ItemTime) -> Option<()> {
        for (target, rows) in batches {
            let id = target.group.id();
            if !self.ancestors.is_empty() && !self.closed.contains(&id) {
                let (group, ancestors) = (Arc::clone(&target.group), self.ancestors.clone());
                self.doing.set("close the ancestors' sessions");
                let ask = async move { group.command(Command::Close(ancestors)).await };
                self.shared.call(self.machine, &target, ask).await?;
            }
            let batch = IndexBatch {
                source: self.source.id(),
                session,
                rows,
                through,
            };
            let (group, shared) = (Arc::clone(&target.group), Rc::clone(&self.shared));
            let ask = async move {
                let reply = group.command(Command::Deliver(batch)).await;
                let count = match &reply {
                    Ok(CommandReply::OldSession(_)) => &shared.deposed,
                    _ => &shared.batches,
                };
                count.set(count.get() + 1);
                reply
            };
            self.doing.set("deliver");
            match self.shared.call(self.machine, &target, ask).await? {
                CommandReply::OldSession(_) => {
                    self.doing.set("give up: it is deposed");
                    return None;
                }
                _ => {
                    self.closed.insert(id);
                    self.positions.insert(id, through);
                }
            }
        }
        Some(())
    }

    async fn trim(&mut self) -> Option<()> {
        self.untrimmed_rounds = 0;
        let session = self.session().await?;
        let through = self.cursor;
        if through <= self.source.stats().counters.trimmed {
            return Some(());
        }
        let mut behind = Vec::new();
        for target in self.targets()? {
            if self.position(&target).await? < through {
                behind.push((target, Vec::new()));
            }
        }
        self.send(behind, session, self.cursor).await?;
        self.doing.set("trim the change log");
        self.source.command(Command::TrimChanges { through }).await.ok()?;
        Some(())
    }
}
