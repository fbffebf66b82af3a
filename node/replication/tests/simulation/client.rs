//! Clients: each asks one thing at a time, at the machine that it takes for the leader, through the same functions that
//! a gateway calls.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use partita_model::error::ErrorCode;
use partita_model::request::Refusal;
use partita_partition::descriptor::GroupId;
use partita_partition::storage::memory::MemoryStorage;
use partita_replication::Group;
use rand::Rng as _;
use rand::rngs::SmallRng;

use crate::history::{Asked, History, Told};
use crate::table::{self, first_group_of};

/// So many keys are asked for: half of them in each table.
pub const KEYS: usize = 6;

/// What came of an operation.
#[derive(Debug)]
pub enum Outcome {
    Told(Told),
    /// It certainly did not happen.
    Refused(Refusal),
}

type Running = Pin<Box<dyn Future<Output = Outcome>>>;

/// An operation under way.
pub struct Asking {
    pub machine: usize,
    /// In the history.
    pub number: usize,
    pub key: usize,
    strong: bool,
    running: Running,
}

pub struct Client {
    /// Which group it takes to have each key, and whom for the leader.
    pub routes: [(GroupId, usize); KEYS],
    pub running: Option<Asking>,
    pub started: u64,
}

/// What clients have done altogether.
#[derive(Default)]
pub struct Clients {
    pub history: History,
    pub refused: HashSet<usize>,
    pub values: u64,
    pub acknowledged: u64,
    pub eventual: u64,
}

async fn run(group: Arc<Group<MemoryStorage>>, key: usize, asked: Asked, strong: bool) -> Outcome {
    let answer = match asked {
        Asked::Read => group.get(table::read(key, strong)).await.map(|reply| reply.item),
        Asked::Swap(value) => group.write(table::swap(key, value)).await.map(|reply| reply.attributes),
        Asked::Insert(value) => match group.write(table::insert(key, value)).await {
            Ok(_) => Ok(None),
            Err(Refusal::Evaluated { error, .. }) if error.code == ErrorCode::ConditionalCheckFailed => {
                Ok(error.item.map(|item| *item))
            }
            Err(refusal) => Err(refusal),
        },
    };
    match answer {
        Ok(item) => Outcome::Told(Told::Was(item.as_ref().map(table::value_of))),
        Err(Refusal::UnknownFate) => Outcome::Told(Told::Nothing),
        Err(refusal) => Outcome::Refused(refusal),
    }
}

impl Client {
    pub fn new() -> Self {
        Self {
            routes: std::array::from_fn(|key| (first_group_of(key), 0)),
            running: None,
            started: 0,
        }
    }

    /// Asks something at a machine.
    pub fn ask(
        &mut self,
        (machine, key): (usize, usize),
        group: Arc<Group<MemoryStorage>>,
        reading: u32,
        clients: &mut Clients,
        now: u64,
        random: &mut SmallRng,
    ) {
        clients.values += 1;
        let value = clients.values;
        let asked = match random.random_range(0..6) {
            // A condition that fails is a read, too.
            _ if random.random_ratio(reading, 100) && random.random_ratio(1, 4) => Asked::Insert(value),
            _ if random.random_ratio(reading, 100) => Asked::Read,
            0..3 => Asked::Swap(Some(value)),
            3 => Asked::Swap(None),
            _ => Asked::Insert(value),
        };
        let strong = asked != Asked::Read || random.random_ratio(4, 5);
        let number = clients.history.begin(key, asked, now);
        self.started = now;
        self.running = Some(Asking {
            machine,
            number,
            key,
            strong,
            running: Box::pin(run(group, key, asked, strong)),
        });
    }

    /// Looks whether the answer is there. True when it is.
    pub fn poll(&mut self, clients: &mut Clients, now: u64) -> bool {
        let Some(Asking {
            number,
            strong,
            running,
            ..
        }) = &mut self.running
        else {
            return false;
        };
        let (number, strong) = (*number, *strong);
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(outcome) = running.as_mut().poll(&mut context) else {
            return false;
        };
        self.running = None;
        match outcome {
            Outcome::Told(told @ Told::Was(_)) if strong => {
                clients.acknowledged += 1;
                clients.history.end(number, told, now);
            }
            Outcome::Told(Told::Was(value)) => {
                // An eventual read may be old, but what it shows must have been written.
                assert!(
                    value.is_none_or(|value| value <= clients.values),
                    "a value that nobody wrote"
                );
                clients.eventual += 1;
                clients.refused.insert(number);
            }
            Outcome::Told(Told::Nothing) => {}
            Outcome::Refused(refusal) => {
                let known = [Refusal::NotLeader, Refusal::Stopping, Refusal::WrongRange];
                assert!(known.contains(&refusal), "{refusal}");
                clients.refused.insert(number);
            }
        }
        true
    }

    /// Nobody will answer any more.
    pub fn give_up(&mut self) {
        self.running = None;
    }
}
