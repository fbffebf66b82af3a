//! Merges that are asked for from outside, step by step: each at the leader that it is about, once for each merge's id.
//!
//! 1. The ids and the body are parsed.
//! 2. The step is made, or what came of it is said; the partition's own log decides which. A step goes on to its end also when
//!    the caller goes away.
//! 3. The answer has what the caller needs for the next step.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use partita_model::admin::{self, Freeze, FreezeState, Merge, MergeMade, Thaw};
use partita_model::partition::GroupId;
use partita_model::request::Refusal;
use partita_partition::merge::{MergeDone, MergeOutcome};
use partita_replication::{Group, MergeError, MergeRequest};
use uuid::Uuid;

use super::problem::Problem;
use super::{Body, Shared, group, json, parse, serving_node, state};
use crate::replica::node::Node;

type Ids = Path<(String, String)>;

/// Makes a source stand still, or says how far that is.
pub async fn put_freeze(State(admin): Shared, Path((id, merge)): Ids, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let source = group(&node, &id)?;
    let Freeze { absorber } = parse(body)?;
    let request = MergeRequest {
        id: merge_id(&merge)?,
        absorber,
        source: source.id(),
    };
    let freeze = made(
        &node,
        &source,
        move |source| async move { source.freeze(request).await },
    )
    .await?;
    json(&FreezeState {
        frozen: state::frozen(&freeze.frozen),
        lacking: freeze.lacking,
        group: state::group(&node, &source),
    })
}

/// Makes two partitions one, or says what came of that.
pub async fn put_merge(State(admin): Shared, Path((id, merge)): Ids, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let absorber = group(&node, &id)?;
    let Merge { source } = parse(body)?;
    let request = of_absorber(&absorber, source, &merge)?;
    let done = made(&node, &absorber, move |absorber| async move {
        absorber.merge(request).await
    })
    .await?;
    tracing::info!(
        group = format!("{:016x}", absorber.id().0),
        source = format!("{:016x}", source.0),
        outcome = format!("{:?}", done.outcome),
        "a merge is decided"
    );
    merge_made(&node, &absorber, &done)
}

/// Gives a merge up, unless it was made.
pub async fn put_refusal(State(admin): Shared, Path((id, merge)): Ids, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let absorber = group(&node, &id)?;
    let Merge { source } = parse(body)?;
    let request = of_absorber(&absorber, source, &merge)?;
    let done = made(&node, &absorber, move |absorber| async move {
        absorber.refuse_merge(request).await
    });
    let done = done.await?;
    merge_made(&node, &absorber, &done)
}

/// Lets the source of a refused merge go on.
pub async fn put_thaw(State(admin): Shared, Path((id, merge)): Ids, body: Body) -> Result<Response, Problem> {
    let node = serving_node(&admin)?;
    let source = group(&node, &id)?;
    let Thaw { absorber, merge: told } = parse(body)?;
    let request = MergeRequest {
        id: merge_id(&merge)?,
        absorber,
        source: source.id(),
    };
    let decided = MergeDone {
        id: merge_id(&told.id)?.as_u128(),
        source: told.source,
        outcome: match told.outcome {
            admin::MergeOutcome::Refused => MergeOutcome::Refused,
            admin::MergeOutcome::Merged { .. } => return Err(MergeError::NotRefused(request.id).into()),
        },
    };
    made(&node, &source, move |source| async move {
        source.thaw(request, &decided).await
    })
    .await?;
    json(&state::group(&node, &source))
}

fn of_absorber(absorber: &Group, source: GroupId, merge: &str) -> Result<MergeRequest, Problem> {
    Ok(MergeRequest {
        id: merge_id(merge)?,
        absorber: absorber.id(),
        source,
    })
}

fn merge_id(text: &str) -> Result<Uuid, Problem> {
    let id = Uuid::parse_str(text).ok().filter(|id| !id.is_nil());
    id.ok_or_else(|| {
        Problem::bad("a merge has a UUID that the caller chooses, the same for all steps, and that is not all 0")
    })
}

/// A step, made at the leader.
async fn made<T: Send + 'static, F: Future<Output = Result<T, MergeError>> + Send + 'static>(
    node: &Arc<Node>,
    group: &Arc<Group>,
    step: impl FnOnce(Arc<Group>) -> F,
) -> Result<T, Problem> {
    let step = tokio::spawn(step(Arc::clone(group)));
    let made = step.await.unwrap_or(Err(Refusal::Stopping.into()));
    made.map_err(|error| match error {
        MergeError::Refused(Refusal::NotLeader) => Problem::not_leader(state::leader(node, group)),
        error => error.into(),
    })
}

fn merge_made(node: &Node, absorber: &Group, done: &MergeDone) -> Result<Response, Problem> {
    json(&MergeMade {
        merge: state::merge_done(done),
        group: state::group(node, absorber),
    })
}
