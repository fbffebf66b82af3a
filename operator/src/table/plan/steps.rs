//! The next step from what a record intends to what is there. Each can be repeated. What a group is told is told to its leader;
//! if another one leads by then, the next pass knows.

use std::collections::BTreeSet;
use std::sync::Arc;

use partita_model::schema::TableSchema;
use partita_model::table::TimeToLiveStatus;
use partita_model::table::record::{IndexRecord, Record, Step};

use super::{Action, Note, leftovers, mirror};
use crate::nodes::{Call, NodeName};
use crate::table::children::Piece;
use crate::table::observe::Observed;
use crate::table::replicas::Replicas;

/// What is to be done for a step.
#[derive(Debug, Default)]
pub struct Steps {
    /// In this order.
    pub actions: Vec<Action>,
    /// Noted when all of it was done.
    pub note: Option<Note>,
    /// What has to come first.
    pub waiting: Option<String>,
}

impl Steps {
    /// Whether nothing is to be done, or waited for.
    pub fn is_done(&self) -> bool {
        self.actions.is_empty() && self.note.is_none() && self.waiting.is_none()
    }

    fn wait(reason: impl Into<String>) -> Self {
        Self {
            waiting: Some(reason.into()),
            ..Self::default()
        }
    }
}

/// The next step. `missing`: partitions without a group.
pub fn plan(observed: &Observed, record: &Record, missing: &BTreeSet<String>) -> Steps {
    let Some(step) = Step::next(record) else {
        return Steps::default();
    };
    if let Some(name) = missing.first() {
        return Steps::wait(format!(
            "waiting for the partition {name}{}",
            trouble(observed, record, name)
        ));
    }
    let schema = match schema_known(observed, record) {
        Ok(actions) => actions,
        Err(reason) => return Steps::wait(reason),
    };
    let tell = |piece: &Piece, call: Call| leader(observed, piece).map(|node| Action::Tell(node, call));
    let done = |actions: Vec<Action>, note: Note| Steps {
        actions: schema.iter().cloned().chain(actions).collect(),
        note: Some(note),
        waiting: None,
    };
    match step {
        Step::Create => done(Vec::new(), Note::Created),
        Step::Apply => done(Vec::new(), Note::Applied),
        Step::RemoveIndex(name) => match record.index(&name) {
            Some(index) => done(removal(observed, record, index), Note::IndexRemoved(name)),
            None => Steps::default(),
        },
        Step::BuildIndex(name) => match record.index(&name) {
            Some(index) => {
                let copy = |piece: Piece| tell(&piece, Call::Backfill(piece.descriptor.group, index.id));
                match of_table(observed, record).map(copy).collect() {
                    Ok(actions) => done(actions, Note::IndexBuilt(name)),
                    Err(reason) => Steps::wait(reason),
                }
            }
            None => Steps::default(),
        },
        Step::SwitchTimeToLive => {
            let on = record.time_to_live == TimeToLiveStatus::Enabling;
            let walk = |piece: Piece| tell(&piece, Call::Expiry(piece.descriptor.group, on));
            match of_table(observed, record).map(walk).collect() {
                Ok(actions) => done(actions, Note::TimeToLiveSwitched(on)),
                Err(reason) => Steps::wait(reason),
            }
        }
        // It is the Table's deletion that deletes a table.
        Step::Delete => Steps::default(),
    }
}

/// What keeps a partition's storage node from running, as far as its pod tells.
fn trouble(observed: &Observed, record: &Record, partition: &str) -> String {
    let piece = observed
        .pieces(record)
        .into_iter()
        .find(|piece| piece.name == partition);
    let replicas = piece.as_ref().and_then(|piece| Replicas::of(observed, piece));
    let why = replicas.and_then(|replicas| replicas.silent().find_map(|node| observed.trouble(node)));
    why.map(|why| format!(": {why}")).unwrap_or_default()
}

/// Who leads a partition's group; else what is waited for.
fn leader(observed: &Observed, piece: &Piece) -> Result<NodeName, String> {
    let replicas = Replicas::of(observed, piece);
    let leader = replicas
        .as_ref()
        .and_then(|replicas| Some(replicas.leader()?.name.clone()));
    leader.ok_or_else(|| {
        let silent = replicas.as_ref().and_then(|replicas| replicas.silent().next());
        let why = silent.map(|node| format!(" ({})", mirror::silence(observed, node)));
        format!("waiting for {} to have a leader{}", piece.name, why.unwrap_or_default())
    })
}

fn of_table(observed: &Observed, record: &Record) -> impl Iterator<Item = Piece> {
    observed
        .pieces(record)
        .into_iter()
        .filter(|piece| piece.index.is_none())
}

/// Tells the schema to the table's partitions that know an older one. Those that are only now being made know it.
fn schema_known(observed: &Observed, record: &Record) -> Result<Vec<Action>, String> {
    let schema: Arc<TableSchema> = Arc::new(record.schema());
    let mut actions = Vec::new();
    for piece in of_table(observed, record) {
        let Some(replicas) = Replicas::of(observed, &piece) else {
            return Err(format!("waiting for the storage nodes of {}", piece.name));
        };
        match replicas.leader() {
            Some(leader) if leader.group.schema_version() < Some(schema.version) => {
                let call = Call::SetSchema(piece.descriptor.group, Arc::clone(&schema));
                actions.push(Action::Tell(leader.name.clone(), call));
            }
            Some(_) => {}
            // It is being made, and knows the schema.
            None if !observed.holds(&piece, piece.descriptor.group) && replicas.silent().next().is_none() => {}
            None => return Err(leader(observed, &piece).err().unwrap_or_default()),
        }
    }
    Ok(actions)
}

/// Removes an index's groups from all stores that answer, then its Partitions. Nobody waits for the others: nothing is written to it any
/// more, and what is left of it there is removed when they are back ([`leftovers`]).
fn removal(observed: &Observed, record: &Record, index: &IndexRecord) -> Vec<Action> {
    let mut actions = leftovers::removed_from_stores(observed, |base, id| base == record.id && id == index.id);
    let number = Some(i32::from(index.id.0));
    let resources = observed
        .partitions
        .values()
        .filter(|partition| partition.spec.index_id == number);
    let names = resources.filter_map(|partition| partition.metadata.name.clone());
    actions.extend(names.map(Action::DeletePartition));
    actions
}
