//! The nodes that a command is about, and what they said of themselves.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow, bail};
use futures::future::join_all;
use partita_model::admin::{GroupState, StoreState};
use partita_model::partition::GroupId;

use super::shown;
use crate::admin::client::AdminClient;

/// A node that answered.
pub struct Node {
    /// The way to it.
    pub admin: AdminClient,
    /// What it said.
    pub state: StoreState,
}

/// All nodes.
pub struct Fleet {
    /// Those that answered.
    pub nodes: Vec<Node>,
    /// Those that did not: where, and why.
    pub silent: Vec<(String, String)>,
}

/// A group, as its most knowing replica has it.
pub struct Group<'a> {
    /// The leader's word where there is one, else that of the latest term.
    pub state: &'a GroupState,
    /// The node that said so.
    pub node: &'a Node,
}

impl Fleet {
    /// Asks all; an error when none answers.
    pub async fn ask(addresses: &[String]) -> anyhow::Result<Self> {
        let asked = addresses.iter().map(|address| async {
            let admin = AdminClient::new(address);
            let state = admin.get::<StoreState>("/store").await;
            (admin, state)
        });
        let mut fleet = Self {
            nodes: Vec::new(),
            silent: Vec::new(),
        };
        for (admin, state) in join_all(asked).await {
            match state {
                Ok(state) => fleet.nodes.push(Node { admin, state }),
                Err(error) => fleet.silent.push((admin.address().to_owned(), error.to_string())),
            }
        }
        for (_, reason) in &fleet.silent {
            // It begins with the address.
            eprintln!("no answer from {reason}");
        }
        if fleet.nodes.is_empty() {
            bail!("none of the nodes answers (--nodes, or PARTITA_NODES)");
        }
        Ok(fleet)
    }

    /// Every group that any node has, by id.
    pub fn groups(&self) -> BTreeMap<GroupId, Group<'_>> {
        let mut groups: BTreeMap<GroupId, Group<'_>> = BTreeMap::new();
        for node in &self.nodes {
            for state in &node.state.groups {
                let one = Group { state, node };
                let known = groups.get(&state.descriptor.group);
                if known.is_none_or(|known| one.rank() > known.rank()) {
                    groups.insert(state.descriptor.group, one);
                }
            }
        }
        groups
    }

    /// One of them.
    pub fn group(&self, group: GroupId) -> anyhow::Result<Group<'_>> {
        let found = self.groups().remove(&group);
        found.with_context(|| format!("none of the nodes that answer has group {}", shown(group)))
    }

    /// The node that leads a group.
    pub fn leader(&self, group: GroupId) -> anyhow::Result<Group<'_>> {
        let found = self.group(group)?;
        if found.state.leader {
            return Ok(found);
        }
        let replication = &found.state.replication;
        let leads = replication
            .members
            .iter()
            .find(|member| Some(member.replica) == replication.leader);
        Err(match leads {
            Some(member) => anyhow!(
                "group {} is led by replica {} on store {} ({}), which is none of the nodes that answer: add its admin address \
                 to --nodes",
                shown(group),
                member.replica,
                member.store,
                member.address.as_deref().unwrap_or("nobody knows where")
            ),
            None => anyhow!(
                "group {} has no leader at the moment: too few of its voters are there, or they are electing one",
                shown(group)
            ),
        })
    }

    /// The node with a store: by its UUID or the beginning of it, its transport's or its admin API's address.
    pub fn store(&self, named: &str) -> anyhow::Result<&Node> {
        let fits = |node: &&Node| {
            let admin = node.admin.address();
            let addresses = [admin, admin.trim_start_matches("http://"), &node.state.address];
            addresses.contains(&named) || !named.is_empty() && node.state.uuid.starts_with(named)
        };
        let mut found = self.nodes.iter().filter(fits);
        match (found.next(), found.next()) {
            (Some(node), None) => Ok(node),
            (Some(_), Some(_)) => bail!("{named:?} is the beginning of more than one store's UUID"),
            (None, _) => bail!("{named:?} is no store of the nodes that answer: `partita admin stores` lists them"),
        }
    }
}

impl Group<'_> {
    fn rank(&self) -> (u64, bool, u64) {
        (self.state.term, self.state.leader, self.state.applied)
    }
}
