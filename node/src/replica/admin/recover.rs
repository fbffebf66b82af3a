//! A group whose majority is lost for good: what the replica here has, and the order to become the group with it.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use partita_model::admin::{Recover, Survivor, SurvivorVoter};
use partita_model::request::Refusal;
use uuid::Uuid;

use super::problem::Problem;
use super::{Body, Shared, group, json, parse, serving_node};

/// What the replica here has.
pub async fn get_survivor(State(admin): Shared, Path(id): Path<String>) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?;
    json(&shown(node.store.survivor(group.id())?))
}

/// The replica here becomes the group.
pub async fn put_recovery(
    State(admin): Shared,
    Path((id, order)): Path<(String, String)>,
    body: Body,
) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let group = group(&node, &id)?.id();
    let order = Uuid::parse_str(&order).ok().filter(|order| !order.is_nil());
    let order =
        order.ok_or_else(|| Problem::bad("a recovery has a UUID that the caller chooses, and that is not all 0"))?;
    let Recover {
        expected_epoch,
        accept_loss,
    } = parse(body)?;
    if !accept_loss {
        return Err(Problem::bad(
            "acceptLoss is false: what only the lost replicas had is lost with this, and somebody has to accept that",
        ));
    }
    let store = Arc::clone(&node.store);
    let alone = tokio::task::spawn_blocking(move || store.go_on_alone(group, order, expected_epoch)).await;
    let alone = alone.unwrap_or(Err(Refusal::Stopping.into()))?;
    json(&shown(alone))
}

fn shown(survivor: partita_replication::Survivor) -> Survivor {
    let voters = survivor.voters.into_iter().map(|(store, heard)| SurvivorVoter {
        store: store.to_string(),
        heard,
    });
    Survivor {
        replica: survivor.replica,
        epoch: survivor.epoch,
        applied: survivor.applied,
        committed: survivor.committed,
        last: survivor.last.index,
        last_term: survivor.last.term,
        written_ms: survivor.written_ms,
        voters: voters.collect(),
    }
}
