//! The world: machines, network, clients and faults, in one thread, one event after the other, all from one seed.
//!
//! 1. Events stand in a queue by time. Each concerns one machine at most: a batch of frames arrives, its clock ticks, its
//!    disk is done, its maintenance runs; or a client asks, or something breaks ([`crate::faults`]).
//! 2. After each event the machine's log writer takes its turn, if it has something to do: gather now, sync later, so
//!    that frames arrive (and machines die) in between.
//! 3. Then the clients whose machine it was look for their answers, and the invariants are checked.
//! 4. A phase of faults is followed by one in which everything is repaired: then clients have to be answered, and all
//!    replicas have to become equal.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use bytes::Bytes;
use partita_partition::descriptor::GroupId;
use partita_partition::storage::Storage as _;
use partita_replication::members::Role;
use partita_replication::time::TICK_NS;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use crate::client::{Client, Clients, KEYS};
use crate::deliverer::Deliverer;
use crate::event::{Event, Queued};
use crate::faults::Faults;
use crate::invariants::Invariants;
use crate::machine::{Habits, Machine, Sent, Turn};
use crate::merger::Merger;
use crate::network::Network;
use crate::operator::Operator;
use crate::plots::{Kind, Plot};
use crate::table::{FIRST_GROUPS, descriptor};

pub const MS: u64 = 1_000_000;
pub const SECOND: u64 = 1000 * MS;
/// How long things break, and how long they may take to heal.
const FAULTS_NS: u64 = 12 * SECOND;
const HEALING_NS: u64 = 12 * SECOND;
/// At the end nobody asks anything: what was written comes to all replicas, and to the index.
const QUIET_NS: u64 = 3 * SECOND;
/// What had begun before that is over by then.
const SETTLING_NS: u64 = SECOND;
/// A client waits for an answer for so long: it is drawn which of them.
const PATIENCE_NS: [u64; 3] = [100 * MS, 500 * MS, 2 * SECOND];
const CLIENTS: usize = 6;
/// Of those, so many hardly change anything: they are not held up when nothing can be committed.
const OBSERVERS: usize = 2;

pub struct World {
    pub now: u64,
    pub random: SmallRng,
    pub machines: Vec<Machine>,
    pub network: Network,
    pub clients: Clients,
    asking: Vec<Client>,
    /// One for each group.
    pub operators: Vec<Operator>,
    /// Splits that were asked for.
    pub splits: u64,
    pub merger: Merger,
    pub deliverer: Deliverer,
    /// Groups that are part of another one.
    pub absorbed: BTreeMap<GroupId, GroupId>,
    faults: Faults,
    /// What is being plotted.
    pub plot: Option<Plot>,
    /// How far plots have come.
    pub plotted: BTreeMap<(Kind, u32), u64>,
    pub habits: Habits,
    pub invariants: Invariants,
    pub healing: bool,
    /// Of twenty times so often a client tries another machine, and of a hundred times so often it reads.
    wandering: u32,
    reading: u32,
    patience_ns: u64,
    /// Clients ask nothing until then.
    pub quiet_until: u64,
    /// If there are any: clients ask for these keys alone.
    pub focus: Vec<usize>,
    /// The disks' latency, at most.
    pub disk_ns: u64,
    sent: Sent,
    queue: BinaryHeap<Reverse<Queued>>,
    queued: u64,
}

/// What a run came to.
#[derive(Debug, Default)]
pub struct Summary {
    pub acknowledged: u64,
    pub eventual: u64,
    pub elections: u64,
    pub crashes: u64,
    pub snapshots: u64,
    pub changes: u64,
    pub rests: u64,
    pub splits: u64,
    pub merges: u64,
    pub refused_merges: u64,
    pub delivered: u64,
    pub deposed: u64,
    /// Plots, by the stage at which they ended.
    pub plots: BTreeMap<(Kind, u32), u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = SmallRng::seed_from_u64(seed);
        let voters = if random.random_ratio(1, 4) { 5 } else { 3 };
        let faults = Faults::draw(&mut random);
        let habits = Habits::draw(&mut random);
        let sent = Sent::default();
        let machines: Vec<_> = (0..voters + 2)
            .map(|number| Machine::new(number, faults.draw_drift(&mut random), habits, &sent))
            .collect();
        let mut world = Self {
            now: 0,
            machines,
            network: Network::healthy(),
            clients: Clients::default(),
            asking: (0..CLIENTS).map(|_| Client::new()).collect(),
            operators: FIRST_GROUPS
                .iter()
                .map(|group| Operator::new(*group, voters, random.random_range(0..12)))
                .collect(),
            splits: 0,
            merger: Merger::default(),
            deliverer: Deliverer::new(seed),
            absorbed: BTreeMap::new(),
            invariants: Invariants::new(faults.clocks_lie),
            faults,
            plot: None,
            plotted: BTreeMap::new(),
            habits,
            healing: false,
            wandering: random.random_range(0..8),
            reading: random.random_range(20..80),
            patience_ns: PATIENCE_NS[random.random_range(0..PATIENCE_NS.len())],
            quiet_until: 0,
            focus: Vec::new(),
            disk_ns: 2 * MS,
            sent,
            queue: BinaryHeap::new(),
            queued: 0,
            random,
        };
        world.begin(voters);
        world
    }

    fn begin(&mut self, voters: usize) {
        let stores: Vec<Uuid> = self.machines[..voters].iter().map(|machine| machine.uuid).collect();
        for number in 0..self.machines.len() {
            self.start(number);
            if number < voters {
                let store = self.machines[number].store.clone().unwrap();
                for group in FIRST_GROUPS {
                    store.bootstrap_among(descriptor(group), &stores).unwrap();
                }
                self.after(number);
            }
            let at = self.random.random_range(0..TICK_NS);
            self.at(at, Event::Tick { machine: number });
            self.at(at + 100 * MS, Event::Maintenance { machine: number });
        }
        for client in 0..CLIENTS {
            self.at(client as u64 * MS, Event::Client { client });
        }
        self.at(SECOND / 2, Event::Fault);
        self.at(SECOND, Event::Operator);
        self.at(MS, Event::Delivery);
    }

    pub fn at(&mut self, after: u64, event: Event) {
        self.queued += 1;
        self.queue.push(Reverse(Queued(self.now + after, self.queued, event)));
    }

    /// Runs both phases; says what is wrong.
    pub fn run(&mut self) -> Result<Summary, String> {
        self.run_until(FAULTS_NS)?;
        self.heal();
        self.run_until(FAULTS_NS + HEALING_NS - QUIET_NS)?;
        self.quiet_until = u64::MAX;
        self.run_until(FAULTS_NS + HEALING_NS)?;
        self.finish()
    }

    fn run_until(&mut self, end: u64) -> Result<(), String> {
        while let Some(Reverse(next)) = self.queue.peek()
            && next.0 < end
        {
            let Some(Reverse(Queued(at, _, event))) = self.queue.pop() else {
                break;
            };
            self.now = self.now.max(at);
            self.handle(event)?;
        }
        self.now = end;
        Ok(())
    }

    fn handle(&mut self, event: Event) -> Result<(), String> {
        let machine = match &event {
            Event::Frames { to: machine, .. }
            | Event::Tick { machine }
            | Event::Disk { machine, .. }
            | Event::Maintenance { machine } => Some(*machine),
            Event::Client { .. } | Event::Fault | Event::Start { .. } | Event::Blink { .. } | Event::Operator => None,
            Event::Sever { .. } | Event::Crash { .. } | Event::Delivery => None,
        };
        if let Some(stopped) = machine.map(|machine| self.machines[machine].stopped_until)
            && stopped > self.now
        {
            // A stopped process finds it all when it goes on.
            let after = stopped - self.now;
            self.at(after, event);
            return Ok(());
        }
        for machine in &self.machines {
            machine.set_clock(self.now);
        }
        match event {
            Event::Frames { to, from, batch } => self.receive(to, from, &batch),
            Event::Tick { machine } if self.machines[machine].uncounted_until > self.now => {
                let after = self.machines[machine].uncounted_until - self.now;
                self.at(after, Event::Tick { machine });
            }
            Event::Tick { machine } => {
                if let Some(store) = &self.machines[machine].store {
                    store.tick();
                }
                let after = self.random.random_range(TICK_NS * 9 / 10..TICK_NS * 11 / 10);
                self.at(after, Event::Tick { machine });
            }
            Event::Disk { machine, incarnation } => {
                self.disk_done(machine, incarnation);
                self.die_at_install(machine);
            }
            Event::Maintenance { machine } => self.maintain(machine),
            Event::Client { client } => self.client(client),
            Event::Fault => self.fault(),
            Event::Start { machine } => {
                if !self.machines[machine].is_up() {
                    self.start(machine);
                    self.after(machine);
                }
            }
            Event::Sever { from, to } if !self.healing => self.network.sever(from, to),
            Event::Crash { machine } if !self.healing => {
                self.with_faults(|faults, world| faults.crash_one(world, machine))
            }
            Event::Sever { .. } | Event::Crash { .. } => {}
            Event::Blink { machine } => {
                if self.machines[machine].is_up() && !self.healing {
                    for leader in self
                        .groups()
                        .into_iter()
                        .filter_map(|group| self.leader(group))
                        .collect::<Vec<_>>()
                    {
                        self.network.separate(leader, machine);
                    }
                    self.crash(machine);
                    let after = self.random.random_range(MS / 10..10 * MS);
                    self.at(after, Event::Start { machine });
                }
            }
            Event::Delivery => {
                let mut deliverer = std::mem::replace(&mut self.deliverer, Deliverer::new(0));
                deliverer.step(self);
                self.deliverer = deliverer;
                let after = self.random.random_range(MS..6 * MS);
                self.at(after, Event::Delivery);
                // What it did at machines shows at their next events: to look at all of them takes long.
                return Ok(());
            }
            Event::Operator => {
                self.discover();
                let mut operators = std::mem::take(&mut self.operators);
                for operator in &mut operators {
                    operator.step(self);
                }
                // One that died on the way answers nobody.
                self.operators = operators;
                let mut merger = std::mem::take(&mut self.merger);
                // The operators see the pair while it is at work.
                self.merger.request = merger.request;
                merger.step(self);
                self.merger = merger;
                for number in 0..self.machines.len() {
                    if !self.machines[number].is_up() {
                        self.operators.iter_mut().for_each(|operator| operator.forget(number));
                        self.merger.forget(number);
                    }
                }
                let after = self.random.random_range(20 * MS..200 * MS);
                self.at(after, Event::Operator);
            }
        }
        if let Some(machine) = machine {
            self.after(machine);
        }
        if let Some(mut plot) = self.plot.take() {
            self.plot = plot.goes_on(self).then_some(plot);
        }
        let mut invariants = std::mem::take(&mut self.invariants);
        let checked = invariants.check(self, machine);
        self.invariants = invariants;
        checked
    }

    fn receive(&mut self, to: usize, from: usize, batch: &Bytes) {
        let from = self.machines[from].uuid;
        if let Some(store) = &self.machines[to].store {
            store.receive(from, batch).unwrap();
        }
    }

    /// What follows whenever something has happened at a machine.
    pub fn after(&mut self, number: usize) {
        let machine = &mut self.machines[number];
        if matches!(machine.turn, Turn::Idle)
            && let Some(gathered) = machine.store.as_ref().and_then(|store| store.gather())
        {
            machine.turn = Turn::Gathered(gathered);
            let (machine, incarnation) = (number, machine.incarnation);
            let after = self.random.random_range(MS / 10..self.disk_ns);
            let hangs = self.plot.as_mut().map_or(0, |plot| plot.hangs(&self.machines[number]));
            self.at(after + hangs, Event::Disk { machine, incarnation });
        }
        self.send();
        self.check_alive(number);
        self.poll(number);
    }

    fn disk_done(&mut self, number: usize, incarnation: u64) {
        let machine = &mut self.machines[number];
        let Some(store) = machine.store.clone().filter(|_| machine.incarnation == incarnation) else {
            return;
        };
        match std::mem::take(&mut machine.turn) {
            Turn::Idle => {}
            Turn::Gathered(gathered) => {
                if let Some(synced) = store.sync(gathered) {
                    machine.turn = Turn::Synced(synced);
                }
                if let Some(mut plot) = self.plot.take() {
                    let until = plot.stalls(self, number);
                    self.machines[number].stalled_until = until.unwrap_or(self.machines[number].stalled_until);
                    self.plot = Some(plot);
                }
                let stalled = self.machines[number].stalled_until.saturating_sub(self.now);
                let after = stalled + self.random.random_range(1000..MS / 2);
                let machine = number;
                self.at(after, Event::Disk { machine, incarnation });
            }
            Turn::Synced(synced) => {
                store.apply(synced);
            }
        }
    }

    /// A process dies that has put a snapshot in its log's place, and has not installed it.
    fn die_at_install(&mut self, number: usize) {
        let machine = &self.machines[number];
        let between = matches!(machine.turn, Turn::Synced(_)) && machine.is_installing();
        if between && (self.is_killed_at_install(number) || self.with_faults(|faults, world| faults.at_install(world)))
        {
            // What it has sent is on its way.
            self.send();
            self.with_faults(|faults, world| faults.crash_one(world, number));
        }
    }

    fn is_killed_at_install(&mut self, number: usize) -> bool {
        let Some(mut plot) = self.plot.take() else { return false };
        let kills = plot.kills_at_install(self, number);
        self.plot = Some(plot);
        kills
    }

    fn send(&mut self) {
        let sent = std::mem::take(&mut *self.sent.lock());
        for (from, to, batch) in sent {
            let Some(to) = self.machines.iter().position(|machine| machine.uuid == to) else {
                continue;
            };
            for after in self.network.deliveries(from, to, &mut self.random) {
                let batch = batch.clone();
                self.at(after, Event::Frames { to, from, batch });
            }
        }
    }

    /// A process ends by itself when its disk fails, and for no other reason.
    fn check_alive(&mut self, number: usize) {
        let deaths = self.machines[number].deaths.lock().clone();
        if deaths.is_empty() {
            return;
        }
        let injected = deaths.iter().all(|death| death.contains("injected"));
        assert!(injected, "machine {number} has ended itself: {deaths:?}");
        self.crash(number);
        let after = self.random.random_range(MS..SECOND);
        self.at(after, Event::Start { machine: number });
    }

    fn maintain(&mut self, machine: usize) {
        let kept = self.plot.as_ref().is_some_and(|plot| plot.keeps_in_memory(machine));
        let flush = self.random.random_ratio(self.habits.flushing, 100) && !kept;
        let cut = self.random.random_ratio(1, 2);
        if let Some(store) = &self.machines[machine].store {
            if flush {
                self.machines[machine].state.flush().unwrap();
            }
            if cut {
                store.cut_log();
            }
        }
        let after = self.random.random_range(50 * MS..500 * MS);
        self.at(after, Event::Maintenance { machine });
    }

    fn fault(&mut self) {
        if self.healing {
            return;
        }
        let after = match self.plot {
            Some(_) => 100 * MS,
            None => self.with_faults(|faults, world| faults.strike(world)),
        };
        self.at(after, Event::Fault);
    }

    /// The last moments, in which nobody begins anything.
    pub fn is_ending(&self) -> bool {
        self.now >= FAULTS_NS + HEALING_NS - QUIET_NS
    }

    /// The very last moments, in which nothing is left to be done.
    pub fn is_at_rest(&self) -> bool {
        self.now >= FAULTS_NS + HEALING_NS - QUIET_NS + SETTLING_NS
    }

    /// What breaks, and the world that it breaks.
    pub fn with_faults<T>(&mut self, what: impl FnOnce(&mut Faults, &mut Self) -> T) -> T {
        let mut faults = std::mem::take(&mut self.faults);
        let answer = what(&mut faults, self);
        self.faults = faults;
        answer
    }

    /// Lets a machine's log writer end its turn at once.
    pub fn release(&mut self, number: usize) {
        while !self.machines[number].turn_is_idle() {
            let incarnation = self.machines[number].incarnation;
            self.disk_done(number, incarnation);
        }
        self.send();
    }

    pub fn start(&mut self, number: usize) {
        let seed = self.random.random();
        self.machines[number].start(self.now, seed);
    }

    pub fn crash(&mut self, number: usize) {
        for client in &mut self.asking {
            if client.running.as_ref().is_some_and(|asking| asking.machine == number) {
                client.give_up();
            }
        }
        self.operators.iter_mut().for_each(|operator| operator.forget(number));
        self.merger.forget(number);
        let keep = self.random.random_ratio(1, 3);
        self.machines[number].crash(keep);
    }

    fn client(&mut self, number: usize) {
        let after = match self.let_ask(number) {
            // What was sent there waits, and is the first that it finds.
            Some(stopped) => stopped - self.now,
            None => self.random.random_range(MS..40 * MS),
        };
        self.at(after, Event::Client { client: number });
    }

    /// A client asks for something, unless it waits for an answer. Until when the machine is stopped, if it is.
    fn let_ask(&mut self, number: usize) -> Option<u64> {
        let mut client = std::mem::replace(&mut self.asking[number], Client::new());
        if client.running.is_some() && self.now - client.started > self.patience_ns {
            client.give_up();
        }
        if client.running.is_none() && self.now >= self.quiet_until {
            let key = match self.focus.len() {
                0 => self.random.random_range(0..KEYS),
                keys => self.focus[self.random.random_range(0..keys)],
            };
            let (group, mut machine) = client.routes[key];
            if self.random.random_ratio(self.wandering, 20) {
                machine = self.random.random_range(0..self.machines.len());
                client.routes[key].1 = machine;
            }
            let stopped = self.machines[machine].stopped_until;
            if stopped > self.now {
                self.asking[number] = client;
                return Some(stopped);
            }
            match self.machines[machine].group(group) {
                Some(group) => {
                    let reading = match self.focus.is_empty() {
                        true if number >= OBSERVERS => self.reading,
                        // Whoever is sent elsewhere writes there: see `disperse`.
                        false if number.is_multiple_of(2) => 10,
                        _ => 97,
                    };
                    let (clients, random) = (&mut self.clients, &mut self.random);
                    client.ask((machine, key), group, reading, clients, self.now, random);
                    self.look(&mut client);
                }
                None => client.routes[key] = self.look_around(key, group),
            }
            self.after(machine);
        }
        self.asking[number] = client;
        None
    }

    /// All clients ask for something at once.
    pub fn crowd(&mut self) {
        for number in 0..CLIENTS {
            self.let_ask(number);
        }
    }

    fn look(&mut self, client: &mut Client) {
        let Some((machine, number, key)) = client
            .running
            .as_ref()
            .map(|asking| (asking.machine, asking.number, asking.key))
        else {
            return;
        };
        if client.poll(&mut self.clients, self.now) && self.clients.refused.contains(&number) {
            // A node that refuses says what it knows of the table.
            let (group, _) = client.routes[key];
            let group = self.machines[machine].group_with(key).unwrap_or(group);
            let hint = self.machines[machine].group(group).and_then(|group| {
                let stats = group.stats();
                let member = stats.members.member(stats.leads).copied()?;
                self.machines.iter().position(|machine| machine.uuid == member.store)
            });
            client.routes[key] = match hint.filter(|_| self.random.random_ratio(4, 5)) {
                Some(leader) => (group, leader),
                None => self.look_around(key, group),
            };
        }
    }

    /// Clients give up what they wait for, and take these by turns for who has the keys that they ask for.
    pub fn disperse(&mut self, routes: [(GroupId, usize); 2]) {
        for (client, route) in self.asking.iter_mut().zip(routes.into_iter().cycle()) {
            client.give_up();
            for key in &self.focus {
                client.routes[*key] = route;
            }
        }
    }

    /// Asks some machine which group has a key.
    fn look_around(&mut self, key: usize, group: GroupId) -> (GroupId, usize) {
        let machine = self.random.random_range(0..self.machines.len());
        (self.machines[machine].group_with(key).unwrap_or(group), machine)
    }

    /// All groups that were seen, and are not part of another one.
    pub fn groups(&self) -> Vec<GroupId> {
        let groups = self.operators.iter().map(|operator| operator.group);
        groups.filter(|group| !self.absorbed.contains_key(group)).collect()
    }

    /// The machine whose replica leads in the newest term, whether or not it serves.
    pub fn raft_leader(&self, group: GroupId) -> Option<usize> {
        let leading = |machine: &Machine| {
            let stats = machine.group(group)?.stats();
            stats.leader.then_some((stats.term, machine.number))
        };
        self.machines.iter().filter_map(leading).max().map(|best| best.1)
    }

    /// Which machine has a store.
    pub fn place(&self, store: Uuid) -> Option<usize> {
        self.machines.iter().position(|machine| machine.uuid == store)
    }

    /// Where a group's voters are, as its leader has it.
    pub fn stores_of(&self, group: GroupId) -> Vec<Uuid> {
        let leader = self
            .raft_leader(group)
            .and_then(|leader| self.machines[leader].group(group));
        let voters = leader.map(|group| group.members().members.clone()).unwrap_or_default();
        let voters = voters.into_iter().filter(|member| member.role == Role::Voter);
        voters.map(|member| member.store).collect()
    }

    /// Children that are born have an operator, too.
    fn discover(&mut self) {
        let (voters, handing_over) = (self.operators[0].voters, self.operators[0].handing_over);
        for machine in &self.machines {
            let groups = machine.store.iter().flat_map(|store| store.groups());
            for group in groups.map(|group| group.id()) {
                if !self.operators.iter().any(|operator| operator.group == group) {
                    self.operators.push(Operator::new(group, voters, handing_over));
                }
            }
        }
    }

    fn poll(&mut self, number: usize) {
        for at in 0..self.asking.len() {
            let asking = self.asking[at].running.as_ref();
            if asking.is_some_and(|asking| asking.machine == number) {
                let mut client = std::mem::replace(&mut self.asking[at], Client::new());
                self.look(&mut client);
                self.asking[at] = client;
            }
        }
    }

    /// Everything is repaired.
    fn heal(&mut self) {
        self.healing = true;
        self.network = Network::healthy();
        self.disk_ns = 2 * MS;
        for number in 0..self.machines.len() {
            self.machines[number].stopped_until = 0;
            self.machines[number].stalled_until = 0;
            self.machines[number].uncounted_until = 0;
            self.machines[number].log.recover();
            self.machines[number].state.recover();
            self.machines[number].drift(self.now, 0);
            if !self.machines[number].is_up() {
                self.start(number);
                self.after(number);
            }
        }
        if self.random.random_ratio(1, 3) {
            // Whoever rests has to wake up again.
            self.quiet_until = self.now + self.random.random_range(SECOND..5 * SECOND);
        }
        self.invariants.healing_began(self.clients.acknowledged);
    }

    fn finish(&mut self) -> Result<Summary, String> {
        for client in &mut self.asking {
            client.give_up();
        }
        let mut invariants = std::mem::take(&mut self.invariants);
        let finished = invariants.finish(self);
        self.invariants = invariants;
        finished?;
        Ok(Summary {
            acknowledged: self.clients.acknowledged,
            eventual: self.clients.eventual,
            elections: self.invariants.elections(),
            crashes: self.faults.crashes,
            snapshots: self.invariants.snapshots(),
            changes: self.operators.iter().map(|operator| operator.changes).sum(),
            rests: self.invariants.rests,
            splits: self.operators.iter().map(|operator| operator.splits).sum(),
            merges: self.merger.merged,
            refused_merges: self.merger.refused,
            delivered: self.deliverer.batches().0,
            deposed: self.deliverer.batches().1,
            plots: std::mem::take(&mut self.plotted),
        })
    }

    /// The machine whose replica leads and serves, in the newest term.
    pub fn leader(&self, group: GroupId) -> Option<usize> {
        let serving = |machine: &Machine| {
            machine
                .group(group)
                .map(|group| (group.stats().serving, machine.number))
        };
        let best = self.machines.iter().filter_map(serving).max()?;
        (best.0 > 0).then_some(best.1)
    }
}

impl Summary {
    pub fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.eventual += other.eventual;
        self.elections += other.elections;
        self.crashes += other.crashes;
        self.snapshots += other.snapshots;
        self.changes += other.changes;
        self.rests += other.rests;
        self.splits += other.splits;
        self.merges += other.merges;
        self.refused_merges += other.refused_merges;
        self.delivered += other.delivered;
        self.deposed += other.deposed;
        for (plot, times) in &other.plots {
            *self.plots.entry(*plot).or_default() += times;
        }
    }
}

/// A run, from beginning to end.
pub fn simulate(seed: u64) -> Result<Summary, String> {
    let mut world = World::new(seed);
    world.run()
}
