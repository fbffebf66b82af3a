//! Orders about a group's members.

use std::time::Duration;

use anyhow::{Context, bail};
use partita_model::admin::{
    Change, ChangeStep, Changed, Drain, GroupState, Leader, MemberRole, MemberState, ProblemCode, Room, StoreAddress,
};
use partita_model::partition::GroupId;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::fleet::{Fleet, Group, Node};
use super::print::Printer;
use super::shown;
use crate::admin::client::CallFailed;

/// How long a learner may take to catch up before it is left to whoever asks again: a large partition takes its time.
const CATCH_UP_MAX: Duration = Duration::from_secs(600);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(200);

/// Hands the leadership over.
pub async fn transfer(fleet: &Fleet, printer: &Printer, group: GroupId, to: &str) -> anyhow::Result<()> {
    let leader = fleet.leader(group)?;
    let replica = replica_named(fleet, &leader, to)?;
    let path = format!("/groups/{}/leader", shown(group));
    let state: GroupState = leader.node.admin.put(&path, &Leader { replica }).await?;
    printer.state(&state)
}

/// A replica by its number, or by the store it is on.
fn replica_named(fleet: &Fleet, group: &Group<'_>, named: &str) -> anyhow::Result<u64> {
    if let Ok(number) = named.parse() {
        return Ok(number);
    }
    let store = &fleet.store(named)?.state.uuid;
    let member = group
        .state
        .replication
        .members
        .iter()
        .find(|member| member.store == *store);
    let member = member.with_context(|| format!("store {store} has no replica of the group"))?;
    Ok(member.replica)
}

/// One change at the leader.
pub async fn change(
    fleet: &Fleet,
    printer: &Printer,
    group: GroupId,
    step: ChangeStep,
    id: Uuid,
) -> anyhow::Result<()> {
    let leader = fleet.leader(group)?;
    printer.changed(&put_change(leader.node, group, step, id).await?)
}

async fn put_change(node: &Node, group: GroupId, step: ChangeStep, id: Uuid) -> Result<Changed, CallFailed> {
    let path = format!("/groups/{}/changes/{id}", shown(group));
    let change = Change {
        expected_epoch: None,
        step,
    };
    node.admin.put(&path, &change).await
}

/// Adds a learner, and makes room for it where it is to live.
pub async fn add_learner(fleet: &Fleet, group: GroupId, store: &str, id: Uuid) -> anyhow::Result<Changed> {
    let leader = fleet.leader(group)?;
    let node = fleet.store(store)?;
    if node.state.address.is_empty() {
        bail!(
            "store {} does not say where it can be reached: give it --advertise",
            node.state.uuid
        );
    }
    let added = StoreAddress {
        store: node.state.uuid.clone(),
        address: node.state.address.clone(),
    };
    let changed = put_change(leader.node, group, ChangeStep::AddLearner(added), id).await?;
    let members = changed
        .group
        .replication
        .members
        .iter()
        .filter_map(|member: &MemberState| {
            Some(StoreAddress {
                store: member.store.clone(),
                address: member.address.clone()?,
            })
        });
    let room = Room {
        descriptor: changed.group.descriptor.clone(),
        replica: changed.replica,
        members: members.collect(),
    };
    let _: GroupState = node
        .admin
        .put(&format!("/groups/{}/replica", shown(group)), &room)
        .await?;
    Ok(changed)
}

/// Removes a replica from the group, and from its store where that answers.
pub async fn remove(fleet: &Fleet, printer: &Printer, group: GroupId, replica: u64, id: Uuid) -> anyhow::Result<()> {
    let leader = fleet.leader(group)?;
    let store = store_of(&leader, replica);
    let changed = put_change(leader.node, group, ChangeStep::Remove(replica), id).await?;
    if let Some(store) = store {
        destroy(fleet, group, replica, &store).await?;
    }
    printer.changed(&changed)
}

fn store_of(group: &Group<'_>, replica: u64) -> Option<String> {
    let members = &group.state.replication.members;
    members
        .iter()
        .find(|member| member.replica == replica)
        .map(|member| member.store.clone())
}

/// Destroys what is left of a replica that was removed.
async fn destroy(fleet: &Fleet, group: GroupId, replica: u64, store: &str) -> anyhow::Result<()> {
    let Some(node) = fleet.nodes.iter().find(|node| node.state.uuid == store) else {
        eprintln!(
            "store {store} does not answer: what is left of replica {replica} there is destroyed by `DELETE /groups/{}?replica={replica}`",
            shown(group)
        );
        return Ok(());
    };
    let here = node.state.groups.iter().find(|one| one.descriptor.group == group);
    if here.is_some_and(|one| one.replication.replica == replica) {
        let path = format!("/groups/{}?replica={replica}", shown(group));
        let _: serde_json::Value = node.admin.delete(&path).await?;
    }
    Ok(())
}

/// Puts a new replica on a store in the place of a voter: adds it, waits until it has caught up, swaps them, destroys the
/// old one. Each step can be repeated: what has been done is found as it is.
pub async fn replace(
    fleet: &Fleet,
    printer: &Printer,
    group: GroupId,
    replica: u64,
    store: &str,
) -> anyhow::Result<()> {
    let leader = fleet.leader(group)?;
    let target = &fleet.store(store)?.state.uuid;
    let members = &leader.state.replication.members;
    if leader.state.replication.replica == replica {
        bail!("replica {replica} leads: `partita admin transfer` first");
    }
    let there = members.iter().find(|member| member.store == *target);
    let old_store = store_of(&leader, replica);
    let added = match there {
        Some(member) if member.role == MemberRole::Learner => member.replica,
        Some(member) if old_store.is_none() => member.replica,
        Some(member) => bail!("store {target} has replica {} of the group already", member.replica),
        None => add_learner(fleet, group, store, Uuid::new_v4()).await?.replica,
    };
    let Some(old_store) = old_store else {
        eprintln!("replica {replica} is gone already");
        return printer.state(leader.state);
    };
    eprintln!("replica {added} receives what the group has");
    let changed = swap(&leader, group, added, replica).await?;
    destroy(fleet, group, replica, &old_store).await?;
    printer.changed(&changed)
}

/// Swaps a learner in, as soon as it has caught up.
async fn swap(leader: &Group<'_>, group: GroupId, add: u64, remove: u64) -> anyhow::Result<Changed> {
    let id = Uuid::new_v4();
    let begin = Instant::now();
    loop {
        match put_change(leader.node, group, ChangeStep::Replace { add, remove }, id).await {
            Ok(changed) => return Ok(changed),
            Err(CallFailed::Refused(problem))
                if matches!(problem.code, Some(ProblemCode::Behind | ProblemCode::Busy))
                    && begin.elapsed() < CATCH_UP_MAX =>
            {
                sleep(LOOK).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Lets a store give away what it leads, or not any more.
pub async fn drain(fleet: &Fleet, printer: &Printer, store: &str, draining: bool) -> anyhow::Result<()> {
    let admin = &fleet.store(store)?.admin;
    let drain: Drain = match draining {
        true => admin.put("/drain", &serde_json::json!({})).await?,
        false => admin.delete("/drain").await?,
    };
    printer.drain(&drain)
}
