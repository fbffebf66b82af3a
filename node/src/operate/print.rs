//! What a command prints: columns for people, or JSON.

use std::collections::BTreeMap;

use anyhow::bail;
use partita_model::admin::{Changed, Drain, GroupState, MemberRole, SplitMade, SplitPoint, StoreState, Survivor};
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::schema::TableId;
use serde_json::{Value, json};

use super::fleet::{Fleet, Group};
use super::shown;
use super::verify::{Check, Verdict};
use crate::cli::Output;

/// Digits of a key's bytes that a column shows.
const KEY_DIGITS: usize = 16;

/// Prints one answer.
pub struct Printer {
    output: Output,
}

impl Printer {
    pub fn new(output: Output) -> Self {
        Self { output }
    }

    pub fn stores(&self, fleet: &Fleet) -> anyhow::Result<()> {
        let mut rows = vec![row([
            "STORE", "ADDRESS", "ADMIN", "VERSION", "GROUPS", "LEADS", "DRAINING",
        ])];
        for node in &fleet.nodes {
            let StoreState {
                uuid,
                version,
                address,
                draining,
                groups,
                ..
            } = &node.state;
            let leads = groups.iter().filter(|group| group.leader).count();
            rows.push(row([
                uuid,
                address,
                node.admin.address(),
                version,
                &groups.len().to_string(),
                &leads.to_string(),
                if *draining { "yes" } else { "no" },
            ]));
        }
        for (address, _) in &fleet.silent {
            rows.push(row(["?", "?", address, "?", "?", "?", "?"]));
        }
        let states: Vec<&StoreState> = fleet.nodes.iter().map(|node| &node.state).collect();
        self.print(&rows, &json!(states))
    }

    /// Groups in the order of their keys, table by table.
    pub fn groups(&self, fleet: &Fleet) -> anyhow::Result<()> {
        let groups = fleet.groups();
        let mut states: Vec<&GroupState> = groups.values().map(|group| group.state).collect();
        let table_names: BTreeMap<TableId, &str> = states
            .iter()
            .filter_map(|state| state.descriptor.schema())
            .map(|schema| (schema.id, schema.name.as_str()))
            .collect();
        let place = |state: &GroupState| {
            let descriptor = &state.descriptor;
            let (of, is_index) = match &descriptor.kind {
                PartitionKind::Table(schema) => (schema.id, false),
                PartitionKind::Index { base, .. } => (*base, true),
            };
            let table = table_names.get(&of).copied().unwrap_or_default();
            (
                table.to_owned(),
                of,
                is_index,
                descriptor.table,
                descriptor.start.clone(),
            )
        };
        states.sort_by_cached_key(|state| place(state));
        let mut rows = vec![row([
            "GROUP", "TABLE", "FROM", "TO", "EPOCH", "PARENT", "LEADER", "VOTERS", "TERM", "APPLIED", "ITEMS", "BYTES",
        ])];
        rows.extend(states.iter().map(|state| group_row(state, &table_names)));
        self.print(&rows, &json!(states))
    }

    /// Both halves of a split.
    pub fn split(&self, made: &SplitMade) -> anyhow::Result<()> {
        let halves: Vec<&GroupState> = [Some(&made.group), made.child.as_ref()].into_iter().flatten().collect();
        let mut rows = vec![row(["GROUP", "FROM", "TO", "EPOCH", "LEADER", "ITEMS", "BYTES"])];
        rows.extend(halves.into_iter().map(|state| {
            let descriptor = &state.descriptor;
            row([
                &shown(descriptor.group),
                &key(Some(&descriptor.start)),
                &key(descriptor.end.as_ref()),
                &descriptor.range_epoch.to_string(),
                &leader(state),
                &state.sizes.items.to_string(),
                &state.sizes.bytes.to_string(),
            ])
        }));
        self.print(&rows, &json!(made))
    }

    /// Where a group would be cut.
    pub fn split_point(&self, state: &GroupState, point: &SplitPoint) -> anyhow::Result<()> {
        if self.output == Output::Table {
            println!("in front of  {}", hex::encode(&point.key.0));
            println!(
                "behind it    {} of {} items, {} of {} bytes",
                point.items, state.sizes.items, point.bytes, state.sizes.bytes
            );
            println!("range epoch  {}", point.range_epoch);
            return Ok(());
        }
        self.print(&[], &json!(point))
    }

    pub fn group(&self, group: &Group<'_>) -> anyhow::Result<()> {
        self.state(group.state)
    }

    /// One group, with its members.
    pub fn state(&self, state: &GroupState) -> anyhow::Result<()> {
        let replication = &state.replication;
        if self.output == Output::Table {
            println!(
                "group       {} of {}",
                shown(state.descriptor.group),
                holds(&state.descriptor, &BTreeMap::new())
            );
            println!(
                "range       {} to {}",
                key(Some(&state.descriptor.start)),
                key(state.descriptor.end.as_ref())
            );
            println!(
                "epochs      range {}, membership {}",
                state.descriptor.range_epoch, replication.membership_epoch
            );
            println!(
                "log         term {}, committed {}, applied {}, flushed {}",
                state.term, replication.committed, state.applied, replication.flushed
            );
            println!("holds       {} items, {} bytes", state.sizes.items, state.sizes.bytes);
            for split in &state.lineage.splits {
                println!(
                    "split       group {} left in front of {} in range epoch {}",
                    shown(split.child),
                    hex::encode(&split.key.0),
                    split.range_epoch
                );
            }
            if let Some(parent) = state.lineage.ancestors.last() {
                println!(
                    "parent      group {}, until range epoch {}",
                    shown(parent.group),
                    parent.until_epoch
                );
            }
            if replication.joint {
                println!("            a replacement is on its way");
            }
        }
        let mut rows = vec![row(["REPLICA", "ROLE", "STORE", "ADDRESS", "HAS", "ALIVE"])];
        for member in &replication.members {
            let role = match member.role {
                MemberRole::Voter if Some(member.replica) == replication.leader => "leader",
                MemberRole::Voter => "voter",
                MemberRole::Learner => "learner",
                MemberRole::Leaving => "leaving",
            };
            let alive = member.alive.map_or("?", |alive| if alive { "yes" } else { "no" });
            rows.push(row([
                &member.replica.to_string(),
                role,
                &member.store,
                member.address.as_deref().unwrap_or("?"),
                &member.matched.map_or("?".to_owned(), |matched| matched.to_string()),
                alive,
            ]));
        }
        self.print(&rows, &json!(state))
    }

    pub fn changed(&self, changed: &Changed) -> anyhow::Result<()> {
        match self.output {
            Output::Json => self.print(&[], &json!(changed)),
            Output::Table => self.state(&changed.group),
        }
    }

    pub fn drain(&self, drain: &Drain) -> anyhow::Result<()> {
        let leads: Vec<String> = drain.leads.iter().map(|group| shown(*group)).collect();
        if self.output == Output::Table {
            match (drain.draining, leads.is_empty()) {
                (false, _) => println!("the store may lead again"),
                (true, true) => println!("the store leads nothing that another could"),
                (true, false) => println!("the store still leads, and goes on giving away: {}", leads.join(" ")),
            }
            return Ok(());
        }
        self.print(&[], &json!(drain))
    }

    /// A replica has become the group.
    pub fn recovered(
        &self,
        group: GroupId,
        store: &str,
        before: &Survivor,
        alone: &Survivor,
        lost: &[&str],
    ) -> anyhow::Result<()> {
        if self.output == Output::Json {
            return self.print(
                &[],
                &json!({"store": store, "before": before, "now": alone, "lost": lost}),
            );
        }
        println!(
            "group {} is the replica on store {store} now, as replica {} in membership epoch {}. That one",
            shown(group),
            alone.replica,
            alone.epoch
        );
        for line in super::recover::has(before) {
            println!("  {line}");
        }
        if !lost.is_empty() {
            println!(
                "Before one of these stores comes back, remove its data: {}",
                lost.join(", ")
            );
        }
        println!(
            "The group has one replica: `partita admin add-learner` and `promote` give it others (on Kubernetes the operator does)"
        );
        Ok(())
    }

    /// What a verification found; an error unless everything is the same.
    pub fn checks(&self, table: &str, checks: &[Check]) -> anyhow::Result<()> {
        let verdict = checks.iter().map(Check::verdict).max().unwrap_or(Verdict::Equal);
        let mut rows = vec![row(["COMPARED", "OF", "ROWS", "VERDICT"])];
        rows.extend(checks.iter().map(|check| {
            let compared = check
                .outcome
                .as_ref()
                .map_or("?".to_owned(), |outcome| outcome.rows.to_string());
            row([&check.what, &check.sides, &compared, check.verdict().word()])
        }));
        let all: Vec<Value> = checks.iter().map(Check::json).collect();
        let all = json!({"table": table, "verdict": verdict.word(), "checks": all});
        self.print(&rows, &all)?;
        if self.output == Output::Table {
            checks.iter().for_each(tell);
        }
        match verdict {
            Verdict::Equal if self.output == Output::Table => println!("{table}: nothing differs"),
            Verdict::Equal => {}
            Verdict::Unknown => bail!("{table}: not everything could be compared"),
            Verdict::Differs => bail!("{table}: there are differences"),
        }
        Ok(())
    }

    fn print(&self, rows: &[Vec<String>], value: &Value) -> anyhow::Result<()> {
        match self.output {
            Output::Json => println!("{}", serde_json::to_string_pretty(value)?),
            Output::Table => print!("{}", columns(rows)),
        }
        Ok(())
    }
}

/// What a check found, line by line.
fn tell(check: &Check) {
    let what = &check.what;
    match &check.outcome {
        Err(reason) => println!("{what}: {reason}"),
        Ok(outcome) => {
            for (key, told) in &outcome.differences {
                println!("{what}: {} {told}", hex::encode(&key.0));
            }
            if outcome.more {
                println!("{what}: and more");
            }
            if outcome.undecided > 0 {
                println!("{what}: some keys were written to all the time; verify again when there is less load");
            }
        }
    }
}

/// A time in epoch milliseconds; a partition that was never written to has none.
pub fn time(ms: u64) -> String {
    let at = i64::try_from(ms).ok().filter(|ms| *ms > 0);
    let at = at.and_then(|ms| k8s_openapi::jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or("no known time".to_owned(), |at| at.to_string())
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn group_row(state: &GroupState, table_names: &BTreeMap<TableId, &str>) -> Vec<String> {
    let (descriptor, replication) = (&state.descriptor, &state.replication);
    let voters = replication
        .members
        .iter()
        .filter(|member| member.role == MemberRole::Voter);
    let parent = state.lineage.ancestors.last();
    row([
        &shown(descriptor.group),
        &holds(descriptor, table_names),
        &key(Some(&descriptor.start)),
        &key(descriptor.end.as_ref()),
        &descriptor.range_epoch.to_string(),
        &parent.map_or("-".to_owned(), |parent| shown(parent.group)),
        &leader(state),
        &voters.count().to_string(),
        &state.term.to_string(),
        &state.applied.to_string(),
        &state.sizes.items.to_string(),
        &state.sizes.bytes.to_string(),
    ])
}

/// Rows in columns as wide as what stands in them.
fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..count).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        let line = cells.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    };
    rows.iter().map(line).collect()
}

/// The table, or the index and the table that it is of: by its name, if that is known.
fn holds(descriptor: &PartitionDescriptor, table_names: &BTreeMap<TableId, &str>) -> String {
    match &descriptor.kind {
        PartitionKind::Table(schema) => schema.name.clone(),
        PartitionKind::Index { index, base, .. } => match table_names.get(base) {
            Some(table) => format!("{} of {table}", index.name),
            None => format!("{} of {:016x}", index.name, base.0),
        },
    }
}

fn key(key: Option<&partita_model::key::KeyBytes>) -> String {
    match key {
        None => "-".to_owned(),
        Some(key) if key.0.is_empty() => "-".to_owned(),
        Some(key) => {
            let digits = hex::encode(&key.0);
            match digits.len() > KEY_DIGITS {
                true => format!("{}…", &digits[..KEY_DIGITS]),
                false => digits,
            }
        }
    }
}

fn leader(state: &GroupState) -> String {
    let replication = &state.replication;
    let leads = replication
        .members
        .iter()
        .find(|member| Some(member.replica) == replication.leader);
    match leads {
        Some(member) => member.address.clone().unwrap_or_else(|| member.store.clone()),
        None => "none".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them() {
        let rows = [row(["A", "LONG", "C"]), row(["value", "x", ""])];
        assert_eq!(columns(&rows), "A      LONG  C\nvalue  x\n");
    }
}
