//! Groups of several members: how they are born, change, and hand over.
//!
//! Each call says where the stores are that it is about: they are noted before anything is done, so that the replicas
//! find each other whoever else is away.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use partita_model::admin::{Bootstrap, Change, ChangeStep, Changed, Drain, Leader, ProblemCode, Room, StoreAddress};
use partita_model::request::Refusal;
use partita_replication::members::Role;
use partita_replication::time::ELECTION_NS;
use partita_replication::{Group, MemberChange, MembershipError};
use partita_transport::protocol::ADDRESS_BYTES_MAX;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::problem::Problem;
use super::{Body, Shared, check, check_same, group, group_id, json, make, parse, serving_node, state};
use crate::replica::node::Node;

/// Voters of a group: more than this cost each write more than they save.
const VOTERS_MAX: usize = 7;
/// A leader that has just been woken hears of its followers within a round of heartbeats: so long a change that wants to
/// know that they are alive is tried again.
const WAKE_MAX: Duration = Duration::from_millis(400);
/// Between two of these tries.
const WAKE_LOOK: Duration = Duration::from_millis(20);

/// This store's part of a group of several voters.
pub async fn put_voters(State(admin): Shared, Path(id): Path<String>, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let id = group_id(&id)?;
    let Bootstrap { descriptor, voters } = parse(body)?;
    check(id, &descriptor)?;
    let stores = stores(&voters)?;
    check_voters(&node, &stores)?;
    note(&node, &stores);
    let uuids: Vec<Uuid> = stores.iter().map(|(store, _)| *store).collect();
    let group = match node.store.group(id) {
        Some(group) => group,
        None => {
            let born = descriptor.clone();
            make(&node.store, &descriptor, move |store| {
                store.bootstrap_among(born, &uuids)
            })
            .await?
        }
    };
    check_same(&group, &descriptor)?;
    json(&state::group(&node, &group))
}

fn check_voters(node: &Node, stores: &[(Uuid, String)]) -> Result<(), Problem> {
    let own = node.store.uuid();
    let twice = |(place, (store, _)): (usize, &(Uuid, String))| stores[..place].iter().any(|(other, _)| other == store);
    match () {
        () if stores.len().is_multiple_of(2) || stores.len() > VOTERS_MAX => Err(Problem::bad(format!(
            "{} voters: a group has 1, 3, 5 or {VOTERS_MAX}",
            stores.len()
        ))),
        () if stores.iter().enumerate().any(twice) => Err(Problem::bad("a store is among the voters twice")),
        () if !stores.iter().any(|(store, _)| *store == own) => Err(Problem::conflict(format!(
            "this is store {own}, which is not among the voters"
        ))),
        () => Ok(()),
    }
}

/// Room for a replica that was added to a group.
pub async fn put_replica(State(admin): Shared, Path(id): Path<String>, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let id = group_id(&id)?;
    let Room {
        descriptor,
        replica,
        members,
    } = parse(body)?;
    check(id, &descriptor)?;
    if replica < 2 {
        return Err(Problem::bad("a replica that was added has a number from 2 on"));
    }
    note(&node, &stores(&members)?);
    let group = match node.store.group(id) {
        Some(group) if group.stats().replica != replica => {
            let here = group.stats().replica;
            return Err(Problem::conflict(format!(
                "replica {here} of the group is here: it has to be destroyed first"
            ))
            .with(ProblemCode::StoreTaken));
        }
        Some(group) => group,
        None => {
            let admitted = descriptor.clone();
            make(&node.store, &descriptor, move |store| store.admit(admitted, replica)).await?
        }
    };
    check_same(&group, &descriptor)?;
    json(&state::group(&node, &group))
}

/// One change of members, at the leader.
pub async fn put_change(
    State(admin): Shared,
    Path((id, change)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    let id = Uuid::parse_str(&change).ok().filter(|id| !id.is_nil());
    let id = id.ok_or_else(|| Problem::bad("a change has a UUID that the caller chooses, and that is not all 0"))?;
    let Change { expected_epoch, step } = parse(body)?;
    let step = match step {
        ChangeStep::AddLearner(learner) => {
            let stores = stores(&[learner])?;
            note(&node, &stores);
            MemberChange::AddLearner { store: stores[0].0 }
        }
        ChangeStep::Promote(replica) => MemberChange::Promote { replica },
        ChangeStep::Remove(replica) => MemberChange::Remove { replica },
        ChangeStep::Replace { add, remove } => MemberChange::Replace { add, remove },
    };
    let changed = changed(&group, id, expected_epoch, step).await;
    let changed = changed.map_err(|error| refused(&node, &group, error))?;
    tracing::info!(
        group = format!("{:016x}", group.id().0),
        ?step,
        epoch = changed.epoch,
        "members have changed"
    );
    json(&Changed {
        replica: changed.replica,
        epoch: changed.epoch,
        group: state::group(&node, &group),
    })
}

/// Makes the change; waits a moment for followers of which a leader that has just woken has not heard yet.
async fn changed(
    group: &Group,
    id: Uuid,
    expected: Option<u64>,
    change: MemberChange,
) -> Result<partita_replication::members::Changed, MembershipError> {
    let deadline = Instant::now() + WAKE_MAX;
    loop {
        let made = group.change_members_at(id, expected, change).await;
        let may_be_soon = matches!(
            &made,
            Err(MembershipError::QuorumLost { .. } | MembershipError::Behind { .. })
        );
        if !may_be_soon || Instant::now() >= deadline {
            return made;
        }
        sleep(WAKE_LOOK).await;
    }
}

/// Hands the leadership over to a replica.
pub async fn put_leader(State(admin): Shared, Path(id): Path<String>, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    let Leader { replica } = parse(body)?;
    let stats = group.stats();
    if stats.leads == replica {
        return json(&state::group(&node, &group));
    }
    if stats.leader
        && stats
            .members
            .member(replica)
            .is_some_and(|member| member.role != Role::Voter)
    {
        let reason = format!("replica {replica} does not vote: promote it first");
        return Err(Problem::conflict(reason).with(ProblemCode::NoSuchMember));
    }
    let mut leadership = group.leadership();
    let asked = group.transfer_leadership(replica);
    asked.map_err(|error| refused(&node, &group, error))?;
    let taken = leadership.wait_for(|now| now.leader == replica);
    match timeout(2 * Duration::from_nanos(ELECTION_NS), taken).await {
        Ok(_) => json(&state::group(&node, &group)),
        Err(_) => Err(Problem::unavailable(format!(
            "replica {replica} has not taken over within an election timeout: ask again"
        ))),
    }
}

/// Where stores are: it is tried where what they said themselves leads nowhere.
pub async fn put_peers(State(admin): Shared, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let named: Vec<StoreAddress> = parse(body)?;
    note(&node, &stores(&named)?);
    json(&state::peers(&node))
}

/// Gives away what the store leads, from now on.
pub async fn put_drain(State(admin): Shared) -> Result<Response, Problem> {
    drain(&*serving_node(&admin)?, true).await
}

/// The store may lead again.
pub async fn delete_drain(State(admin): Shared) -> Result<Response, Problem> {
    drain(&*serving_node(&admin)?, false).await
}

async fn drain(node: &Node, draining: bool) -> Result<Response, Problem> {
    if node.drain.is_on() != draining {
        tracing::info!(draining, "what this store leads is given away, or not any more");
    }
    node.drain.set(draining).await;
    json(&Drain {
        draining,
        leads: node.drain.leads(),
    })
}

/// A refusal of the group; with the leader, if the call has to go there.
fn refused(node: &Node, group: &Arc<Group>, error: MembershipError) -> Problem {
    match error {
        MembershipError::Refused(Refusal::NotLeader) => Problem::not_leader(state::leader(node, group)),
        error => error.into(),
    }
}

fn stores(named: &[StoreAddress]) -> Result<Vec<(Uuid, String)>, Problem> {
    let parse = |one: &StoreAddress| {
        let uuid = Uuid::parse_str(&one.store).ok().filter(|uuid| !uuid.is_nil());
        let uuid = uuid.ok_or_else(|| Problem::bad(format!("{:?} is not the UUID of a store", one.store)))?;
        let port = one
            .address
            .rsplit_once(':')
            .and_then(|(host, port)| (!host.is_empty()).then_some(port));
        let fits = port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
        match fits && one.address.len() <= ADDRESS_BYTES_MAX {
            true => Ok((uuid, one.address.clone())),
            false => Err(Problem::bad(format!("{:?} is not HOST:PORT", one.address))),
        }
    };
    named.iter().map(parse).collect()
}

/// Notes where stores are.
fn note(node: &Node, stores: &[(Uuid, String)]) {
    for (store, address) in stores {
        node.letters.book().told(*store, address);
    }
}
