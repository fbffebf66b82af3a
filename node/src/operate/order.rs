//! An order to a group's leader that is repeated until it is certain what came of it: it has an id, and is carried out once.

use std::time::Duration;

use anyhow::Context;
use partita_model::admin::{Problem, ProblemCode};
use partita_model::partition::GroupId;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::fleet::{Fleet, Nodes};
use crate::admin::client::CallFailed;

/// Between two attempts.
pub const RETRY: Duration = Duration::from_millis(200);

/// Why an order was not carried out.
pub enum NotDone {
    /// The leader refused, and nothing has changed.
    Refused(Problem),
    /// It is not known by the deadline what came of it.
    Unknown(anyhow::Error),
}

impl From<NotDone> for anyhow::Error {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Refused(problem) => Self::msg(problem.message),
            NotDone::Unknown(error) => error,
        }
    }
}

/// Gives the leader an order; where it is not certain what came of it, or another one leads meanwhile, the nodes are asked
/// again who leads, and that one is given the same order.
pub async fn carry_out<T: DeserializeOwned>(
    nodes: &Nodes,
    group: GroupId,
    path: &str,
    body: &impl Serialize,
    deadline: Instant,
) -> Result<T, NotDone> {
    loop {
        let why = match attempt(nodes, group, path, body).await {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(CallFailed::Refused(problem))) if !passes(problem.code) => return Err(NotDone::Refused(problem)),
            Ok(Err(error)) => anyhow::Error::from(error),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            return Err(NotDone::Unknown(
                why.context("not done in time; the same --id goes on with it"),
            ));
        }
        eprintln!("{why:#}: asking again");
        sleep(RETRY).await;
    }
}

async fn attempt<T: DeserializeOwned>(
    nodes: &Nodes,
    group: GroupId,
    path: &str,
    body: &impl Serialize,
) -> anyhow::Result<Result<T, CallFailed>> {
    let fleet = Fleet::ask(nodes).await.context("nobody answers")?;
    Ok(fleet.leader(group)?.node.admin.put(path, body).await)
}

/// Whether a refusal may be over soon, or leaves open what came of it.
fn passes(code: Option<ProblemCode>) -> bool {
    matches!(
        code,
        Some(ProblemCode::NotLeader | ProblemCode::Busy | ProblemCode::UnknownFate)
    )
}
