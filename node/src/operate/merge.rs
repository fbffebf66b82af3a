//! A merge that is ordered from a shell: two neighbours become one group again.
//!
//! 1. The source is told to stand still, until all its voters have that: it serves nobody from then on.
//! 2. The absorber's leader makes the merge; its log alone decides whether there is one.
//! 3. If there will be none (it was refused, or cannot be made here), it is given up in the absorber's log, and the source goes
//!    on.
//!
//! All of it has one id. Whoever asks again with the same finds what has been done, and goes on.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use partita_model::admin::{
    Freeze, FreezeState, GroupState, Merge, MergeDone, MergeMade, MergeOutcome, ProblemCode, Thaw,
};
use partita_model::partition::GroupId;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::fleet::{Fleet, Nodes};
use super::order::{NotDone, RETRY, carry_out};
use super::print::Printer;
use super::shown;

/// How long the source may stand still before the merge is given up, with the elections that come in between.
const FREEZE_MAX: Duration = Duration::from_secs(10);
/// How long each other step may take.
const STEP_MAX: Duration = Duration::from_secs(30);

/// Two groups, and the id of what is done with them.
struct Pair<'a> {
    nodes: &'a Nodes,
    absorber: GroupId,
    source: GroupId,
    id: Uuid,
}

/// Makes a group and its neighbour one; by default the one behind it.
pub async fn merge(
    nodes: &Nodes,
    fleet: &Fleet,
    printer: &Printer,
    absorber: GroupId,
    source: Option<GroupId>,
    id: Uuid,
) -> anyhow::Result<()> {
    let group = fleet.group(absorber)?.state;
    if let Some(done) = group.lineage.merges.iter().find(|done| done.id == id.to_string()) {
        let pair = Pair {
            nodes,
            absorber,
            source: done.source,
            id,
        };
        return pair.end(printer, done.clone()).await;
    }
    let source = match source {
        Some(source) => source,
        None => behind(fleet, group)?,
    };
    fleet.group(source)?;
    let pair = Pair {
        nodes,
        absorber,
        source,
        id,
    };
    eprintln!(
        "group {} is to have the keys of group {}, too",
        shown(absorber),
        shown(source)
    );
    pair.carry_out(printer).await
}

/// The group whose range begins where this one's ends.
fn behind(fleet: &Fleet, group: &GroupState) -> anyhow::Result<GroupId> {
    let descriptor = &group.descriptor;
    let end = descriptor.end.as_ref();
    let end = end.context("no group is behind it: it has the last keys. Name its neighbour with --source")?;
    let groups = fleet.groups();
    let mut neighbours = groups.values().map(|group| &group.state.descriptor);
    let found = neighbours.find(|other| other.table == descriptor.table && other.start == *end);
    Ok(found.context("none of the nodes has the group behind it")?.group)
}

impl Pair<'_> {
    async fn carry_out(&self, printer: &Printer) -> anyhow::Result<()> {
        let body = Merge { source: self.source };
        let path = self.path(self.absorber, "merges");
        let deadline = Instant::now() + FREEZE_MAX;
        loop {
            if let Err(why) = self.freeze(deadline).await {
                return Err(self.give_up(why).await);
            }
            let step = Instant::now() + STEP_MAX;
            return match carry_out::<MergeMade>(self.nodes, self.absorber, &path, &body, step).await {
                Ok(made) => self.end(printer, made.merge).await,
                // Its replica of the source may hear later than the source's leader that all of them stand still.
                Err(NotDone::Refused(problem))
                    if problem.code == Some(ProblemCode::NotFrozen) && Instant::now() < deadline =>
                {
                    sleep(RETRY).await;
                    continue;
                }
                Err(NotDone::Refused(problem)) => Err(self.give_up(anyhow::Error::msg(problem.message)).await),
                // It may have been made.
                Err(unknown) => Err(unknown.into()),
            };
        }
    }

    /// Lets the source stand still everywhere.
    async fn freeze(&self, deadline: Instant) -> anyhow::Result<()> {
        let body = Freeze {
            absorber: self.absorber,
        };
        let path = self.path(self.source, "freezes");
        loop {
            let state: FreezeState = carry_out(self.nodes, self.source, &path, &body, deadline).await?;
            if state.frozen.everywhere {
                eprintln!("group {} stands still", shown(self.source));
                return Ok(());
            }
            ensure!(
                Instant::now() < deadline,
                "replicas {:?} of group {} do not answer: all of them have to stand still",
                state.lacking,
                shown(self.source)
            );
            sleep(RETRY).await;
        }
    }

    /// Gives the merge up, unless it was made, and lets the source go on; why it is no merge.
    async fn give_up(&self, why: anyhow::Error) -> anyhow::Error {
        let body = Merge { source: self.source };
        let path = self.path(self.absorber, "refusals");
        let given_up = carry_out::<MergeMade>(self.nodes, self.absorber, &path, &body, Instant::now() + STEP_MAX).await;
        let thawed = match given_up {
            Ok(made) => self.thaw(made.merge).await,
            Err(not_done) => Err(not_done.into()),
        };
        match thawed {
            Ok(()) => why.context("not merged, and both groups go on as before"),
            Err(error) => why.context(format!(
                "not merged; that group {} goes on is not certain ({error:#}): the same order with --id {} sees to it",
                shown(self.source),
                self.id
            )),
        }
    }

    /// Lets the source of a merge that was refused go on; one that was never frozen does already.
    async fn thaw(&self, merge: MergeDone) -> anyhow::Result<()> {
        if matches!(merge.outcome, MergeOutcome::Merged { .. }) {
            bail!("it was merged meanwhile");
        }
        let fleet = Fleet::ask(self.nodes).await?;
        let frozen = fleet.group(self.source)?.state.lineage.frozen.as_ref();
        if frozen.is_none_or(|frozen| frozen.id != self.id.to_string()) {
            return Ok(());
        }
        let body = Thaw {
            absorber: self.absorber,
            merge,
        };
        let path = self.path(self.source, "thaws");
        let _: GroupState = carry_out(self.nodes, self.source, &path, &body, Instant::now() + STEP_MAX).await?;
        Ok(())
    }

    /// What was decided.
    async fn end(&self, printer: &Printer, merge: MergeDone) -> anyhow::Result<()> {
        match merge.outcome {
            MergeOutcome::Merged { range_epoch } => eprintln!("merged in range epoch {range_epoch}"),
            MergeOutcome::Refused => {
                self.thaw(merge).await?;
                bail!(
                    "the merge with the id {} was refused: both groups go on as before. Another id can try again",
                    self.id
                );
            }
        }
        let fleet = Fleet::ask(self.nodes).await?;
        printer.state(fleet.group(self.absorber)?.state)
    }

    fn path(&self, group: GroupId, step: &str) -> String {
        format!("/groups/{}/{step}/{}", shown(group), self.id)
    }
}
