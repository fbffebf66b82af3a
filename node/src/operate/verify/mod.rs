//! Whether a table is what it should be: `partita admin verify`.
//!
//! 1. The table's groups are found among the nodes that answer; together they have each key once, of the table and of each
//!    global index.
//! 2. The replicas of each group hold the same rows ([`compare`]).
//! 3. Each global index holds the rows that the table's items call for.
//! 4. What was found is printed. A difference, and what could not be compared, is a failure of the command.
//!
//! It reads everything, and changes nothing; the table may be written to meanwhile.

mod compare;

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use partita_model::admin::{DigestSubject, GroupState};
use partita_model::hexadecimal;
use partita_model::key::KeyBytes;
use partita_model::partition::GroupId;
use partita_model::schema::{GlobalIndex, TableId, TableSchema};
use partita_model::table::record::{Piece as Range, cover};
use partita_partition::digest::Pieces;
use serde_json::{Value, json};

use super::fleet::{Fleet, Group, Node};
use super::shown;
use compare::{Kinship, Outcome, Part, Side, compare};

/// Bytes of rows that one question is about: it is answered in seconds.
const BYTES_AT_ONCE: u64 = 64 << 20;

/// What one comparison came to.
pub struct Check {
    /// What was compared with what.
    pub what: String,
    /// How many sides of how many that there are.
    pub sides: String,
    /// What came of it, or why nothing did.
    pub outcome: Result<Outcome, String>,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Equal,
    /// Something could not be compared.
    Unknown,
    Differs,
}

impl Check {
    pub fn verdict(&self) -> Verdict {
        match &self.outcome {
            Ok(outcome) if !outcome.differences.is_empty() => Verdict::Differs,
            Ok(outcome) if outcome.undecided > 0 => Verdict::Unknown,
            Ok(_) => Verdict::Equal,
            Err(_) => Verdict::Unknown,
        }
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let outcome = self.outcome.as_ref().ok();
        let differences: Vec<Value> = outcome
            .into_iter()
            .flat_map(|outcome| &outcome.differences)
            .map(|(key, told)| json!({"key": key, "difference": told}))
            .collect();
        json!({
            "what": self.what,
            "sides": self.sides,
            "verdict": self.verdict().word(),
            "rows": outcome.map(|outcome| outcome.rows),
            "undecidedPieces": outcome.map(|outcome| outcome.undecided),
            "differences": differences,
            "more": outcome.is_some_and(|outcome| outcome.more),
            "reason": self.outcome.as_ref().err(),
        })
    }
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Self::Equal => "equal",
            Self::Unknown => "unknown",
            Self::Differs => "differs",
        }
    }
}

/// Compares everything of a table.
pub async fn verify(fleet: &Fleet, named: &str) -> anyhow::Result<Vec<Check>> {
    let groups = fleet.groups();
    let schema = schema(&groups, named)?;
    let mut checks = Vec::new();
    let table = partitions(&groups, schema.id, "the table")?;
    for group in &table {
        checks.push(replicas(fleet, group, "table").await);
    }
    for index in schema.global.iter().filter(|index| index.readable) {
        let rows = partitions(&groups, index.table, &format!("index {}", index.name))?;
        for group in &rows {
            checks.push(replicas(fleet, group, &format!("index {}", index.name)).await);
        }
        checks.push(index_of(index, &table, &rows).await);
    }
    Ok(checks)
}

/// The newest schema of the table of that name (or of that id).
fn schema(groups: &BTreeMap<GroupId, Group<'_>>, named: &str) -> anyhow::Result<TableSchema> {
    let id = hexadecimal::parse_id(named).map(TableId);
    let all = groups.values().filter_map(|group| group.state.descriptor.schema());
    let mut found: BTreeMap<TableId, &TableSchema> = BTreeMap::new();
    for schema in all.filter(|schema| schema.name == named || Some(schema.id) == id) {
        let known = found.entry(schema.id).or_insert(schema);
        if schema.version > known.version {
            *known = schema;
        }
    }
    match found.len() {
        0 => bail!("no node that answers has a table {named:?}: `partita admin groups` shows which there are"),
        1 => found.into_values().next().cloned().context("one table"),
        _ => {
            let ids: Vec<String> = found.keys().map(|id| format!("{:016x}", id.0)).collect();
            bail!(
                "there are several tables {named:?}; name one of them by its id: {}",
                ids.join(", ")
            )
        }
    }
}

/// The groups that have the rows stored under this id, in key order: each key is one's.
fn partitions<'a>(
    groups: &'a BTreeMap<GroupId, Group<'a>>,
    id: TableId,
    what: &str,
) -> anyhow::Result<Vec<&'a Group<'a>>> {
    let mut found: Vec<_> = groups
        .values()
        .filter(|group| group.state.descriptor.table == id)
        .collect();
    found.sort_by(|one, other| one.state.descriptor.start.cmp(&other.state.descriptor.start));
    let ranges = found.iter().map(|group| {
        let descriptor = &group.state.descriptor;
        Range {
            group: descriptor.group,
            start: descriptor.start.clone(),
            end: descriptor.end.clone(),
        }
    });
    cover(ranges.collect()).with_context(|| format!("the partitions of {what}, as far as nodes answer"))?;
    Ok(found)
}

/// A partition's keys in ranges of a bearable size.
fn ranges(state: &GroupState) -> Vec<Pieces> {
    let descriptor = &state.descriptor;
    let count = u32::try_from(state.sizes.bytes.div_ceil(BYTES_AT_ONCE))
        .unwrap_or(u32::MAX)
        .max(1);
    let whole = Pieces {
        from: descriptor.start.clone(),
        to: descriptor.end.clone(),
        count,
    };
    (0..count as usize).map(|place| whole.divide(place, 1)).collect()
}

/// Compares the replicas of a group: the leader's, if it is known, with each other one.
async fn replicas(fleet: &Fleet, group: &Group<'_>, of: &str) -> Check {
    let (state, id) = (group.state, group.state.descriptor.group);
    let side = |node: &Node| Side {
        name: format!("store {}", node.state.uuid),
        parts: vec![Part {
            admin: node.admin.clone(),
            group: id,
            subject: DigestSubject::Replica,
            only: None,
        }],
    };
    let first = side(group.node);
    let has = |node: &&Node| {
        let is_other = node.state.uuid != group.node.state.uuid;
        is_other && node.state.groups.iter().any(|one| one.descriptor.group == id)
    };
    let others: Vec<Side> = fleet.nodes.iter().filter(has).map(side).collect();
    let members = state.replication.members.len().max(1);
    let outcome = compare(Kinship::Replicas, &first, &others, ranges(state)).await;
    let outcome = outcome.map_err(|error| format!("{error:#}"));
    let outcome = match others.len() + 1 < members {
        true => outcome.and_then(|outcome| match outcome.differences.is_empty() {
            true => Err(format!(
                "{} of {members} replicas do not answer",
                members - others.len() - 1
            )),
            false => Ok(outcome),
        }),
        false => outcome,
    };
    Check {
        what: format!("replicas of group {} ({of})", shown(id)),
        sides: format!("{} of {members}", others.len() + 1),
        outcome,
    }
}

/// Compares what the table's items call for with what the index holds.
async fn index_of(index: &GlobalIndex, table: &[&Group<'_>], rows: &[&Group<'_>]) -> Check {
    let part = |group: &Group<'_>, subject, only| Part {
        admin: group.node.admin.clone(),
        group: group.state.descriptor.group,
        subject,
        only,
    };
    let called_for = table.iter().flat_map(|group| {
        let walked = ranges(group.state).into_iter().map(|range| (range.from, range.to));
        walked.map(move |range| part(group, DigestSubject::CalledFor(index.id), Some(range)))
    });
    let first = Side {
        name: "the table".to_owned(),
        parts: called_for.collect(),
    };
    let held = Side {
        name: format!("index {}", index.name),
        parts: rows
            .iter()
            .map(|group| part(group, DigestSubject::IndexRows, None))
            .collect(),
    };
    let whole = Pieces {
        from: KeyBytes::default(),
        to: None,
        count: 1,
    };
    let outcome = compare(Kinship::Index, &first, &[held], vec![whole]).await;
    Check {
        what: format!("index {} against the table", index.name),
        sides: format!("{} and {} groups", rows.len(), table.len()),
        outcome: outcome.map_err(|error| format!("{error:#}")),
    }
}
