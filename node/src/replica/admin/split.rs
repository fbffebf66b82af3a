//! Splits that are asked for from outside.
//!
//! 1. The id and the body are parsed; whether the child's id is free is asked of every member's store that answers.
//! 2. The group splits, or says what came of the split with this id before.
//! 3. The answer has both halves: it waits a moment for the child's leader, which is elected meanwhile.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::Response;
use futures::future::join_all;
use partita_model::admin::{ProblemCode, Split, SplitMade, SplitPlace, SplitPoint};
use partita_model::partition::GroupId;
use partita_model::request::Refusal;
use partita_partition::split::{SplitAt, SplitDone};
use partita_replication::time::ELECTION_NS;
use partita_replication::{Group, Leadership, SplitError, SplitRequest};
use tokio::time::timeout;
use uuid::Uuid;

use super::problem::Problem;
use super::{Body, Shared, check_leads, group, json, parse, serving_node, state};
use crate::replica::node::Node;

/// How long another store may take to say whether it has a group: it does so from memory.
const ASK_MAX: Duration = Duration::from_millis(500);
/// How long the answer waits for the child's leader. It stands for election at once, so that only a loss takes longer.
const CHILD_LEADS_MAX: Duration = Duration::from_nanos(2 * ELECTION_NS);

/// Where the partition could be cut.
pub async fn split_point(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    check_leads(&node, &group)?;
    let range_epoch = group.descriptor().range_epoch;
    let point = group
        .split_point()
        .await
        .map_err(|error| refused(&node, &group, error))?;
    json(&SplitPoint {
        key: point.key,
        items: point.departing.items,
        bytes: point.departing.bytes,
        range_epoch,
    })
}

/// Cuts the partition in two, once for each id.
pub async fn put_split(
    State(admin): Shared,
    Path((id, split)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    let id = Uuid::parse_str(&split).ok().filter(|id| !id.is_nil());
    let id = id.ok_or_else(|| Problem::bad("a split has a UUID that the caller chooses, and that is not all 0"))?;
    let Split {
        expected_epoch,
        at,
        child,
    } = parse(body)?;
    if child.0 == 0 {
        return Err(Problem::bad(
            "the child's id has 16 hexadecimal digits that are not all 0",
        ));
    }
    check_leads(&node, &group)?;
    let is_made = group
        .lineage_here()
        .is_ok_and(|known| known.split(id.as_u128()).is_some());
    if !is_made && node.jobs.is_walking(group.id()) {
        let reason = "expiry rows of the partition's items are being made (or dropped): ask again when that is done";
        return Err(Problem::conflict(reason.to_owned()).with(ProblemCode::Busy));
    }
    let request = SplitRequest {
        id,
        at: match at {
            SplitPlace::Middle => SplitAt::Middle,
            SplitPlace::Key(key) => SplitAt::Key(key),
        },
        child,
    };
    // It goes on to its end also when the caller goes away: half of a split is not a thing to leave behind.
    let splitting = {
        let (node, group) = (Arc::clone(&node), Arc::clone(&group));
        tokio::spawn(async move { made(&node, &group, expected_epoch, request).await })
    };
    let done = splitting.await.unwrap_or(Err(Refusal::Stopping.into()));
    let done = done.map_err(|error| refused(&node, &group, error))?;
    let child = child_of(&node, &done).await;
    json(&SplitMade {
        split: state::split_done(done),
        group: state::group(&node, &group),
        child: child.map(|child| state::group(&node, &child)),
    })
}

async fn made(
    node: &Node,
    group: &Arc<Group>,
    expected: Option<u64>,
    request: SplitRequest,
) -> Result<SplitDone, SplitError> {
    let id = request.id.as_u128();
    let before = || group.lineage_here().ok().and_then(|known| known.split(id).cloned());
    let mut repeated = before().is_some();
    if !repeated && is_known_elsewhere(node, group, request.child).await {
        // Another call with this id may be on its way, and others may have applied it first.
        let committed = group.stats().committed;
        let _ = group.subscribe().wait_for(|at| at.index >= committed).await;
        repeated = before().is_some();
        if !repeated {
            return Err(SplitError::Used(request.child));
        }
    }
    let done = group.split_at(expected, request).await?;
    if !repeated {
        tracing::info!(
            group = format!("{:016x}", group.id().0),
            child = format!("{:016x}", done.child.0),
            key = hex::encode(&done.key.0),
            range_epoch = done.range_epoch,
            "a partition was split"
        );
    }
    Ok(done)
}

/// Whether another member's store has a group of the child's id: it would take the child for that group. What was there and
/// was destroyed is not known to whoever is asked; ids are drawn at random so that this does not matter.
async fn is_known_elsewhere(node: &Node, group: &Group, child: GroupId) -> bool {
    let members = group.members();
    let addresses = members
        .members
        .iter()
        .filter_map(|member| node.letters.book().address(member.store));
    let asked = addresses.map(|address| {
        let peer = node.client.peer(&address);
        async move { peer.leader(child, ASK_MAX).await.is_ok() }
    });
    join_all(asked).await.into_iter().any(|known| known)
}

/// The child, with a leader if there is one soon; `None` where it is not in this store any more.
async fn child_of(node: &Node, done: &SplitDone) -> Option<Arc<Group>> {
    let child = node.store.group(done.child)?;
    let (own, mut leadership) = (child.stats().replica, child.leadership());
    let serves = |now: &Leadership| now.serving != 0 || now.leader != 0 && now.leader != own;
    let _ = timeout(CHILD_LEADS_MAX, leadership.wait_for(serves)).await;
    Some(child)
}

fn refused(node: &Node, group: &Group, error: SplitError) -> Problem {
    match error {
        SplitError::Refused(Refusal::NotLeader) => Problem::not_leader(state::leader(node, group)),
        error => error.into(),
    }
}
