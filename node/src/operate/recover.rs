//! What is left of a group becomes the group, when most of its voters are lost for good.
//!
//! 1. Every node that answers is asked what its replica of the group has. While one of them leads, or enough of the voters answer,
//!    nothing is lost, and nothing is done.
//! 2. The one that is named has to have most of the log: another one that has more is said to.
//! 3. Without the explicit acceptance, what is there and what may be missing is printed, and nothing is done.
//! 4. The order goes to that store, with an id. Replicas on other stores that answer do not count any more, and are destroyed.

use std::time::Duration;

use anyhow::{Context, bail};
use partita_model::admin::{Recover, Survivor};
use partita_model::partition::GroupId;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::fleet::{Fleet, Node};
use super::print::Printer;
use super::{fresh, shown};

/// A store that was lost a moment ago is noticed within a second, and a replica that does not lead any more, too.
const NOTICED_MAX: Duration = Duration::from_secs(3);
/// Between two tries.
const LOOK: Duration = Duration::from_millis(200);

/// What is to be done.
pub struct Order {
    pub group: GroupId,
    /// The store.
    pub from: String,
    /// Whether what is lost is accepted.
    pub accepted: bool,
    pub id: Option<Uuid>,
}

/// A replica that answers.
struct Replica<'a> {
    node: &'a Node,
    has: Survivor,
}

/// Carries it out, or says what it would come to.
pub async fn recover(fleet: &Fleet, printer: &Printer, order: Order) -> anyhow::Result<()> {
    let (group, from) = (order.group, fleet.store(&order.from)?);
    let replicas = ask(fleet, group).await?;
    let survivor = replicas
        .iter()
        .find(|replica| replica.node.state.uuid == from.state.uuid);
    let survivor =
        survivor.with_context(|| format!("store {} has no replica of group {}", from.state.uuid, shown(group)))?;
    if order.id.is_none() || survivor.has.voters.len() != 1 {
        refuse_unless_lost(fleet, group, survivor, &replicas)?;
    }
    let lost: Vec<&str> = lost(survivor, &replicas);
    if !order.accepted {
        tell(group, survivor, &lost);
        bail!("nothing has been done: --i-accept-loss does it");
    }
    let alone = carry_out(survivor, group, order.id.unwrap_or_else(fresh)).await?;
    for other in replicas.iter().filter(|other| other.node.state.uuid != from.state.uuid) {
        let path = format!("/groups/{}?replica={}", shown(group), other.has.replica);
        let _: serde_json::Value = other.node.admin.delete(&path).await?;
        eprintln!(
            "store {}: its replica does not count any more, and is destroyed",
            other.node.state.uuid
        );
    }
    printer.recovered(group, &from.state.uuid, &survivor.has, &alone, &lost)
}

async fn ask(fleet: &Fleet, group: GroupId) -> anyhow::Result<Vec<Replica<'_>>> {
    let mut replicas = Vec::new();
    for node in &fleet.nodes {
        if node.state.groups.iter().any(|one| one.descriptor.group == group) {
            let has = node.admin.get(&format!("/groups/{}/survivor", shown(group))).await?;
            replicas.push(Replica { node, has });
        }
    }
    Ok(replicas)
}

/// An error while the group can go on by itself, and where another replica has more.
fn refuse_unless_lost(fleet: &Fleet, group: GroupId, survivor: &Replica, replicas: &[Replica]) -> anyhow::Result<()> {
    let name = shown(group);
    if let Ok(leader) = fleet.leader(group) {
        bail!(
            "group {name} is led by the replica on store {}: nothing is lost",
            leader.node.state.uuid
        );
    }
    let voters = &survivor.has.voters;
    let answers = |store: &str| replicas.iter().any(|replica| replica.node.state.uuid == store);
    let answering = voters.iter().filter(|voter| answers(&voter.store)).count();
    let quorum = voters.len() / 2 + 1;
    if answering >= quorum {
        bail!(
            "{answering} of the {} voters of group {name} answer, and {quorum} are enough: it goes on by itself",
            voters.len()
        );
    }
    let rank = |replica: &Replica| (replica.has.last_term, replica.has.last);
    if let Some(more) = replicas.iter().find(|other| rank(other) > rank(survivor)) {
        bail!(
            "the replica on store {} has more than the one on {}: entry {} of term {}, and not {} of term {}. Recover from that one",
            more.node.state.uuid,
            survivor.node.state.uuid,
            more.has.last,
            more.has.last_term,
            survivor.has.last,
            survivor.has.last_term
        );
    }
    Ok(())
}

/// Stores of voters that do not answer.
fn lost<'a>(survivor: &'a Replica, replicas: &[Replica]) -> Vec<&'a str> {
    let voters = survivor.has.voters.iter().map(|voter| voter.store.as_str());
    voters
        .filter(|store| replicas.iter().all(|replica| replica.node.state.uuid != *store))
        .collect()
}

async fn carry_out(survivor: &Replica<'_>, group: GroupId, id: Uuid) -> anyhow::Result<Survivor> {
    let path = format!("/groups/{}/recoveries/{id}", shown(group));
    let order = Recover {
        expected_epoch: survivor.has.epoch,
        accept_loss: true,
    };
    let deadline = Instant::now() + NOTICED_MAX;
    loop {
        match survivor.node.admin.put(&path, &order).await {
            Err(crate::admin::client::CallFailed::Refused(problem))
                if problem.code == Some(partita_model::admin::ProblemCode::QuorumThere)
                    && Instant::now() < deadline =>
            {
                sleep(LOOK).await;
            }
            done => return Ok(done?),
        }
    }
}

fn tell(group: GroupId, survivor: &Replica, lost: &[&str]) {
    println!(
        "group {}: the replica on store {}",
        shown(group),
        survivor.node.state.uuid
    );
    for line in has(&survivor.has) {
        println!("  {line}");
    }
    println!("does not answer: {}", lost.join(", "));
}

/// What a replica has, and what it cannot know.
pub fn has(survivor: &Survivor) -> Vec<String> {
    vec![
        format!(
            "has applied entry {}; its last write is of {}",
            survivor.applied,
            super::print::time(survivor.written_ms)
        ),
        match survivor.last.saturating_sub(survivor.committed) {
            0 => "knows of every entry that it has that it was committed".to_owned(),
            more => format!("has {more} entries more, which may have been acknowledged, or not: they count"),
        },
        "does not know what was acknowledged after that without it: that is what may be missing".to_owned(),
    ]
}
