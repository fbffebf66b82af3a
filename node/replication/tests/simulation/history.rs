//! What clients asked and were told, and whether that can have happened one after the other: linearizability of single
//! keys, by Wing and Gong's search with Lowe's memory of where it has been.

use std::collections::{BTreeMap, HashSet};

/// What a client asks of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    Read,
    /// Sets it and answers what it held.
    Swap(Option<u64>),
    /// Sets it if it is empty, else answers what it holds.
    Insert(u64),
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// What the register held before.
    Was(Option<u64>),
    /// Nothing: whether it happened is unknown.
    Nothing,
}

#[derive(Debug, Clone, Copy)]
pub struct Operation {
    pub key: usize,
    pub asked: Asked,
    pub told: Told,
    pub start: u64,
    /// `u64::MAX` while nobody was told.
    pub end: u64,
}

#[derive(Default)]
pub struct History {
    pub operations: Vec<Operation>,
}

impl History {
    /// Notes the beginning of an operation; its number.
    pub fn begin(&mut self, key: usize, asked: Asked, start: u64) -> usize {
        self.operations.push(Operation {
            key,
            asked,
            told: Told::Nothing,
            start,
            end: u64::MAX,
        });
        self.operations.len() - 1
    }

    pub fn end(&mut self, number: usize, told: Told, end: u64) {
        if told != Told::Nothing {
            (self.operations[number].told, self.operations[number].end) = (told, end);
        }
    }

    /// Says why the history cannot be; `reads` is whether answers count that changed nothing.
    pub fn check(&self, refused: &HashSet<usize>, reads: bool) -> Result<(), String> {
        let mut keys: BTreeMap<usize, Vec<Operation>> = BTreeMap::new();
        for (number, operation) in self.operations.iter().enumerate() {
            // What changed nothing did not go through the log.
            let idle = match (operation.asked, operation.told) {
                (Asked::Read, Told::Nothing) => true,
                (Asked::Read, _) | (Asked::Insert(_), Told::Was(Some(_))) | (Asked::Swap(None), Told::Was(None)) => {
                    !reads
                }
                _ => false,
            };
            if !refused.contains(&number) && !idle {
                keys.entry(operation.key).or_default().push(*operation);
            }
        }
        for (key, operations) in keys {
            let seen: HashSet<u64> = operations
                .iter()
                .filter_map(|operation| match operation.told {
                    Told::Was(value) => value,
                    Told::Nothing => None,
                })
                .collect();
            // A write of unknown fate that nobody ever saw can have come last, or not at all.
            let matters = |operation: &Operation| match (operation.told, operation.asked) {
                (Told::Nothing, Asked::Swap(Some(value)) | Asked::Insert(value)) => seen.contains(&value),
                _ => true,
            };
            let operations: Vec<_> = operations.into_iter().filter(matters).collect();
            if !linearizable(&operations) {
                let mut listing = operations.clone();
                listing.sort_by_key(|operation| operation.start);
                let listing: Vec<_> = listing.iter().map(|operation| format!("  {operation:?}")).collect();
                return Err(format!("key {key} is not linearizable:\n{}", listing.join("\n")));
            }
        }
        Ok(())
    }
}

/// The register after an operation, if the answer fits.
fn step(register: Option<u64>, operation: &Operation) -> Option<Option<u64>> {
    if let Told::Was(was) = operation.told
        && was != register
    {
        return None;
    }
    Some(match (operation.asked, register) {
        (Asked::Read, _) | (Asked::Insert(_), Some(_)) => register,
        (Asked::Swap(value), _) => value,
        (Asked::Insert(value), None) => Some(value),
    })
}

fn linearizable(operations: &[Operation]) -> bool {
    let mut sorted: Vec<Operation> = operations.to_vec();
    sorted.sort_by_key(|operation| operation.start);
    let mut been: HashSet<(Vec<u64>, Option<u64>)> = HashSet::new();
    let mut done = vec![0_u64; sorted.len().div_ceil(64)];
    // The search's path: which operation was taken, and the register before it.
    let mut path: Vec<(usize, Option<u64>)> = Vec::new();
    let mut register = None;
    let mut next = 0;
    let is_done = |done: &[u64], at: usize| done[at / 64] >> (at % 64) & 1 == 1;
    loop {
        // The first end among those not done: whatever begins after it has to wait.
        let open = (0..sorted.len()).filter(|at| !is_done(&done, *at));
        let Some(limit) = open.map(|at| sorted[at].end).min() else {
            return true;
        };
        let mut taken = false;
        for at in next..sorted.len() {
            if sorted[at].start > limit {
                break;
            }
            if is_done(&done, at) {
                continue;
            }
            if let Some(after) = step(register, &sorted[at]) {
                done[at / 64] |= 1 << (at % 64);
                if been.insert((done.clone(), after)) {
                    path.push((at, register));
                    register = after;
                    taken = true;
                    break;
                }
                done[at / 64] &= !(1 << (at % 64));
            }
        }
        if taken {
            next = 0;
            continue;
        }
        let Some((at, before)) = path.pop() else { return false };
        done[at / 64] &= !(1 << (at % 64));
        register = before;
        next = at + 1;
    }
}

#[test]
fn the_oracle_tells_histories_apart() {
    let operation = |asked, told, start, end| Operation {
        key: 0,
        asked,
        told,
        start,
        end,
    };
    let write = |value, start, end| operation(Asked::Swap(Some(value)), Told::Was(None), start, end);
    let read = |value, start, end| operation(Asked::Read, Told::Was(value), start, end);
    assert!(linearizable(&[write(1, 0, 10), read(None, 2, 3), read(Some(1), 4, 5)]));
    assert!(!linearizable(&[write(1, 0, 10), read(Some(1), 2, 3), read(None, 4, 5)]));
    assert!(!linearizable(&[write(1, 0, 1), read(None, 2, 3)]));
    let unknown = operation(Asked::Swap(Some(2)), Told::Nothing, 0, u64::MAX);
    assert!(linearizable(&[unknown, read(None, 5, 6), read(Some(2), 7, 8)]));
    assert!(!linearizable(&[unknown, read(Some(2), 5, 6), read(None, 7, 8)]));
    let refused = operation(Asked::Insert(3), Told::Was(Some(1)), 4, 5);
    assert!(linearizable(&[write(1, 0, 1), refused, read(Some(1), 6, 7)]));
    assert!(!linearizable(&[refused, read(None, 6, 7)]));
}
