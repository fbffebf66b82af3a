//! A merge of two groups whose replicas are on the same stores, from the freeze to its end, in one go: the source serves nobody in
//! between.
//!
//! 1. The source is told to stand still until all its voters have that.
//! 2. The absorber's leader makes the merge: its log decides (ADR 20). What it knows of the source is what its own store knows,
//!    and that may be a moment older than what the source's leader said: it is asked again then.
//! 3. If it refuses, cannot make it for [`FREEZE_MAX`], or not all of the source's voters answer, the merge is given up in the
//!    absorber's log, and the source goes on. What nobody knows the end of is brought to one in the next pass, with the same id
//!    (`plan::frozen`).

use std::time::Duration;

use partita_model::admin::{MergeOutcome, Thaw};
use tokio::time::{Instant, sleep};

use super::Context;
use super::observe::Observed;
use super::plan::MergeOrder;
use crate::nodes::{Answer, Call, NodeError, NodeName};

/// How long the source may stand still before the merge is given up.
const FREEZE_MAX: Duration = Duration::from_secs(5);
/// Between two questions whether it does everywhere, or whether the merge can be made by now.
const FREEZE_ASKED: Duration = Duration::from_millis(50);

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// They are one.
    Merged,
    /// Both go on as before; why.
    GivenUp(String),
    /// Nobody knows yet.
    Unknown(String),
}

/// Carries a merge out.
pub async fn merge(context: &Context, observed: &Observed, order: &MergeOrder) -> Ended {
    let run = Run {
        context,
        observed,
        order,
    };
    if let Some(why) = &order.given_up {
        return run.give_up(why.clone()).await;
    }
    let deadline = Instant::now() + FREEZE_MAX;
    let call = Call::Merge(order.absorber, order.source, order.id.clone());
    loop {
        let merged = match run.freeze(deadline).await {
            Ok(()) => run.tell(&order.absorber_node, &call).await,
            // It may stand still, and only the absorber's log lets it go on.
            Err(Failed::Unknown(why)) => Err(Failed::Refused(why)),
            Err(failed) => Err(failed),
        };
        return match merged {
            Ok(Answer::Decided(decided)) => match decided.outcome {
                MergeOutcome::Merged { .. } => Ended::Merged,
                MergeOutcome::Refused => run.give_up("it was refused before".to_owned()).await,
            },
            Ok(_) => Ended::Unknown("an answer that says nothing of a merge".to_owned()),
            Err(Failed::NotYet(_) | Failed::NotFrozen(_)) if Instant::now() < deadline => {
                sleep(FREEZE_ASKED).await;
                continue;
            }
            Err(Failed::Refused(why) | Failed::NotYet(why) | Failed::NotFrozen(why)) => run.give_up(why).await,
            Err(Failed::Unknown(why)) => Ended::Unknown(why),
        };
    }
}

enum Failed {
    /// Nothing has changed.
    Refused(String),
    /// Likewise, because something else has to come first.
    NotYet(String),
    /// Likewise, because the source does not stand still (as far as is known there).
    NotFrozen(String),
    /// It may have been done.
    Unknown(String),
}

impl Failed {
    fn why(self) -> String {
        match self {
            Self::Refused(why) | Self::NotYet(why) | Self::NotFrozen(why) | Self::Unknown(why) => why,
        }
    }
}

struct Run<'a> {
    context: &'a Context,
    observed: &'a Observed,
    order: &'a MergeOrder,
}

impl Run<'_> {
    async fn tell(&self, node: &NodeName, call: &Call) -> Result<Answer, Failed> {
        let host = node.dns(&self.observed.namespace);
        let told = self.context.nodes.call(&host, call).await;
        told.map_err(|error| match error {
            NodeError::Refused(..) => Failed::Refused(error.to_string()),
            NodeError::Busy(..) => Failed::NotYet(error.to_string()),
            NodeError::NotFrozen(..) => Failed::NotFrozen(error.to_string()),
            NodeError::Silent(..) | NodeError::NotYet(..) => Failed::Unknown(error.to_string()),
        })
    }

    /// Until it stands still everywhere.
    async fn freeze(&self, deadline: Instant) -> Result<(), Failed> {
        let MergeOrder {
            absorber,
            source,
            id,
            source_node,
            ..
        } = self.order;
        let call = Call::Freeze(*source, *absorber, id.clone());
        loop {
            match self.tell(source_node, &call).await? {
                Answer::Frozen(true) => return Ok(()),
                _ if Instant::now() > deadline => {
                    let why = format!(
                        "not all replicas of {:016x} stand still within {FREEZE_MAX:?}",
                        source.0
                    );
                    return Err(Failed::Refused(why));
                }
                _ => sleep(FREEZE_ASKED).await,
            }
        }
    }

    /// Lets the source go on, unless the merge was made.
    async fn give_up(&self, why: String) -> Ended {
        let MergeOrder {
            absorber,
            source,
            id,
            absorber_node,
            source_node,
            given_up: _,
        } = self.order;
        let refuse = Call::RefuseMerge(*absorber, *source, id.clone());
        let merge = match self.tell(absorber_node, &refuse).await {
            Ok(Answer::Decided(merge)) => merge,
            Ok(_) => return Ended::Unknown(why),
            Err(failed) => return Ended::Unknown(format!("{why}; {}", failed.why())),
        };
        if matches!(merge.outcome, MergeOutcome::Merged { .. }) {
            return Ended::Merged;
        }
        let thaw = Call::Thaw(
            *source,
            Box::new(Thaw {
                absorber: *absorber,
                merge,
            }),
        );
        match self.tell(source_node, &thaw).await {
            // One that never stood still goes on as it is. Of any other it is not known that it does.
            Ok(_) | Err(Failed::NotFrozen(_)) => Ended::GivenUp(why),
            Err(failed) => Ended::Unknown(format!("{why}; {}", failed.why())),
        }
    }
}
