//! Two sides that should hold the same rows, while both are written to.
//!
//! 1. The range is divided into pieces. One side's digests are taken, then the other's, then the first one's again: of a piece
//!    that has the same digest before and after, nothing was changed in between, so what the other side has can be judged.
//! 2. A piece that was changed is divided further and asked for again: smaller pieces are written to less often.
//! 3. Replicas have applied the same log entries by then, so a piece that differs does. An index is behind its table by a
//!    moment: a piece of it differs only if it still does after some time in which neither side was written to.
//! 4. What differs is divided until the rows are few enough to be named by key.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use anyhow::bail;
use futures::future::try_join_all;
use partita_model::admin::{DigestOrder, DigestRange, DigestState, DigestSubject};
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_partition::digest::{Piece, Pieces};
use tokio::time::{Instant, sleep};

use super::super::shown;
use crate::admin::client::AdminClient;

/// A range is divided into so many pieces at first, and each of these that needs it again.
const PIECES: u32 = 64;
const DIVIDED: u32 = 16;
/// A piece that is written to all the time is divided, or asked for, so often before it is left undecided.
const ATTEMPTS_MAX: u32 = 24;
/// Between two looks at what is behind, or was changed.
const PAUSE: Duration = Duration::from_millis(250);
/// An index that is this long behind, while nothing is written, differs: deliveries take milliseconds.
const SETTLE: Duration = Duration::from_secs(5);
/// A row of an index that differs is looked at again after this: it may have been written a moment ago.
const AGAIN: Duration = Duration::from_secs(1);
/// Rows that are named one by one.
const KEYS_MAX: u32 = 1000;
/// Differences that are told; where there are more, that is said.
const DIFFERENCES_MAX: usize = 100;

/// One partition's rows (or those between two keys) at one replica.
pub struct Part {
    pub admin: AdminClient,
    pub group: GroupId,
    pub subject: DigestSubject,
    /// Only these; `None`: those in the pieces that are asked for.
    pub only: Option<(KeyBytes, Option<KeyBytes>)>,
}

/// Whoever holds rows: one replica, or several partitions whose parts are added up.
pub struct Side {
    pub name: String,
    pub parts: Vec<Part>,
}

/// How the sides belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    /// They apply the same log.
    Replicas,
    /// The first one's changes come to the others a moment later.
    Index,
}

/// What came of a comparison.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows of the first side that were compared.
    pub rows: u64,
    /// Which rows are not the same, in words: by key.
    pub differences: Vec<(KeyBytes, String)>,
    /// There are more of them.
    pub more: bool,
    /// Pieces that were written to all the time.
    pub undecided: usize,
}

/// What a side said.
struct Reading {
    pieces: Vec<Piece>,
    keys: Option<BTreeMap<KeyBytes, u64>>,
    /// Of each part.
    applied: Vec<u64>,
    epochs: Vec<u64>,
}

impl Side {
    async fn read(&self, pieces: &Pieces, after: u64, keys_max: u32) -> anyhow::Result<Reading> {
        let asked = self.parts.iter().map(|part| async {
            let (from, to) = part.only.clone().unwrap_or((pieces.from.clone(), pieces.to.clone()));
            let order = DigestOrder {
                subject: part.subject,
                from,
                to,
                pieces: DigestRange {
                    from: pieces.from.clone(),
                    to: pieces.to.clone(),
                    count: pieces.count,
                },
                after,
                keys_max,
            };
            let path = format!("/groups/{}/digest", shown(part.group));
            part.admin.ask::<DigestState>(&path, &order).await
        });
        let states = try_join_all(asked).await?;
        let mut reading = Reading {
            pieces: vec![Piece::default(); pieces.count as usize],
            keys: Some(BTreeMap::new()),
            applied: states.iter().map(|state| state.applied).collect(),
            epochs: states.iter().map(|state| state.range_epoch).collect(),
        };
        for state in states {
            for (sum, part) in reading.pieces.iter_mut().zip(&state.pieces) {
                sum.rows += part.rows;
                sum.sum = sum.sum.wrapping_add(part.sum);
            }
            reading.keys = match (reading.keys, state.keys) {
                (Some(mut all), Some(keys)) => {
                    all.extend(keys.into_iter().map(|row| (row.key, row.sum)));
                    Some(all)
                }
                (Some(_), None) | (None, _) => None,
            };
        }
        Ok(reading)
    }
}

/// A range that is looked at.
struct Task {
    pieces: Pieces,
    attempts: u32,
    state: State,
}

enum State {
    New,
    /// It differs, since then, with these digests: of an index that may still be behind.
    Waiting(Instant, Vec<Piece>),
    /// It differs: now for its rows.
    Differs,
}

/// Compares the first side with each of the others.
pub async fn compare(kinship: Kinship, first: &Side, others: &[Side], ranges: Vec<Pieces>) -> anyhow::Result<Outcome> {
    let new = |pieces: Pieces| Task {
        pieces: Pieces {
            count: PIECES,
            ..pieces
        },
        attempts: 0,
        state: State::New,
    };
    let mut tasks: VecDeque<Task> = ranges.into_iter().map(new).collect();
    let mut outcome = Outcome::default();
    while let Some(task) = tasks.pop_front() {
        if outcome.differences.len() >= DIFFERENCES_MAX {
            outcome.more = true;
            break;
        }
        let seen = look(kinship, first, others, &task).await?;
        for (piece, verdict) in seen.verdicts.iter().enumerate() {
            let next = match verdict {
                Verdict::Equal(rows) => {
                    outcome.rows += rows;
                    continue;
                }
                Verdict::Changing => changing(&task, piece),
                Verdict::Differs(digests) => differing(kinship, &task, piece, digests),
            };
            match next {
                Next::Look(next) => tasks.push_back(next),
                Next::GiveUp => outcome.undecided += 1,
                Next::Name => {
                    let again = match kinship {
                        Kinship::Replicas => None,
                        Kinship::Index => {
                            sleep(AGAIN).await;
                            Some(look(kinship, first, others, &task).await?)
                        }
                    };
                    name(&mut outcome, first, others, &seen, again.as_ref());
                    outcome.rows += verdict.rows();
                }
            }
        }
        let waits = |task: &Task| task.attempts > 0 || matches!(task.state, State::Waiting(..));
        if tasks.front().is_some_and(waits) {
            sleep(PAUSE).await;
        }
    }
    Ok(outcome)
}

enum Next {
    Look(Task),
    GiveUp,
    Name,
}

enum Verdict {
    Equal(u64),
    Changing,
    /// The digests of all sides.
    Differs(Vec<Piece>),
}

impl Verdict {
    fn rows(&self) -> u64 {
        match self {
            Self::Equal(rows) => *rows,
            Self::Changing => 0,
            Self::Differs(digests) => digests.first().map_or(0, |first| first.rows),
        }
    }
}

/// What all sides said of a range.
struct Seen {
    before: Reading,
    others: Vec<Reading>,
    after: Reading,
    verdicts: Vec<Verdict>,
}

async fn look(kinship: Kinship, first: &Side, others: &[Side], task: &Task) -> anyhow::Result<Seen> {
    let keys_max = match task.state {
        State::Differs => KEYS_MAX,
        State::New | State::Waiting(..) => 0,
    };
    let together = |readings: &[&Reading]| match kinship {
        Kinship::Replicas => readings.iter().flat_map(|one| &one.applied).copied().max().unwrap_or(0),
        Kinship::Index => 0,
    };
    let before = first.read(&task.pieces, 0, keys_max).await?;
    let after = together(&[&before]);
    let read = others.iter().map(|other| other.read(&task.pieces, after, keys_max));
    let read = try_join_all(read).await?;
    let after = together(&read.iter().collect::<Vec<_>>());
    let after = first.read(&task.pieces, after, keys_max).await?;
    let moved = before.epochs != after.epochs
        || kinship == Kinship::Replicas && read.iter().any(|other| other.epochs != before.epochs);
    if moved {
        bail!("a partition was split (or merged) while it was compared: verify again");
    }
    let verdict = |piece: usize| {
        let mine = before.pieces[piece];
        match () {
            () if mine != after.pieces[piece] => Verdict::Changing,
            () if read.iter().all(|other| other.pieces[piece] == mine) => Verdict::Equal(mine.rows),
            () => Verdict::Differs(
                [mine]
                    .into_iter()
                    .chain(read.iter().map(|other| other.pieces[piece]))
                    .collect(),
            ),
        }
    };
    Ok(Seen {
        verdicts: (0..before.pieces.len()).map(verdict).collect(),
        before,
        others: read,
        after,
    })
}

/// A piece that was written to while it was looked at.
fn changing(task: &Task, piece: usize) -> Next {
    let attempts = task.attempts + 1;
    if attempts > ATTEMPTS_MAX {
        return Next::GiveUp;
    }
    Next::Look(Task {
        pieces: task.pieces.divide(piece, DIVIDED),
        attempts,
        state: match task.state {
            State::New | State::Waiting(..) => State::New,
            State::Differs => State::Differs,
        },
    })
}

/// A piece that is not the same.
fn differing(kinship: Kinship, task: &Task, piece: usize, digests: &[Piece]) -> Next {
    let alone = |count: u32, state: State| {
        Next::Look(Task {
            pieces: task.pieces.divide(piece, count),
            attempts: task.attempts,
            state,
        })
    };
    match (&task.state, kinship) {
        (State::New, Kinship::Replicas) => alone(1, State::Differs),
        (State::New, Kinship::Index) => alone(1, State::Waiting(Instant::now(), digests.to_vec())),
        (State::Waiting(_, known), _) if known != digests => changing(task, piece),
        (State::Waiting(since, _), _) if since.elapsed() < SETTLE => alone(1, State::Waiting(*since, digests.to_vec())),
        (State::Waiting(..), _) => alone(1, State::Differs),
        (State::Differs, _) => {
            let few = digests.iter().map(|side| side.rows).sum::<u64>() <= u64::from(KEYS_MAX);
            match few || !task.pieces.can_be_divided() {
                true if task.pieces.count == 1 => Next::Name,
                true => alone(1, State::Differs),
                false => alone(DIVIDED, State::Differs),
            }
        }
    }
}

/// Names the rows of a range that differ, in the same way when they were looked at again. What was written to between two looks
/// at the first side is not judged.
fn name(outcome: &mut Outcome, first: &Side, others: &[Side], seen: &Seen, again: Option<&Seen>) {
    for (place, (side, other)) in others.iter().zip(&seen.others).enumerate() {
        let (Some(before), Some(after), Some(theirs)) = (&seen.before.keys, &seen.after.keys, &other.keys) else {
            let told = format!(
                "more than {KEYS_MAX} rows that are not the same in {} and {}",
                first.name, side.name
            );
            outcome.differences.push((KeyBytes::default(), told));
            continue;
        };
        let keys: BTreeSet<&KeyBytes> = [before, after, theirs].iter().flat_map(|keys| keys.keys()).collect();
        let stays = |key: &KeyBytes| {
            again.is_none_or(|again| {
                let sum = |reading: &Reading| Some(reading.keys.as_ref()?.get(key).copied());
                sum(&again.before) == Some(before.get(key).copied())
                    && sum(&again.others[place]) == Some(theirs.get(key).copied())
            })
        };
        let settled = |key: &&KeyBytes| before.get(*key) == after.get(*key) && stays(key);
        for key in keys.into_iter().filter(settled) {
            let told = match (before.get(key), theirs.get(key)) {
                (Some(mine), Some(theirs)) if mine == theirs => continue,
                (None, None) => continue,
                (Some(_), Some(_)) => format!("is not the same in {} and {}", first.name, side.name),
                (Some(_), None) => format!("is in {} and not in {}", first.name, side.name),
                (None, Some(_)) => format!("is in {} and not in {}", side.name, first.name),
            };
            outcome.differences.push((key.clone(), told));
        }
    }
}
