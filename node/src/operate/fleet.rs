//! The nodes that a command is about, and what they said of themselves.

use std::collections::BTreeMap;

use anyhow::{Context, anyhow, bail};
use futures::future::join_all;
use partita_model::admin::{GroupState, StoreState};
use partita_model::partition::GroupId;

use super::shown;
use partita_tls::{Current, Mutual};

use crate::admin::client::AdminClient;

/// The nodes of `--nodes`, and how they are called.
pub struct Nodes {
    /// Their admin addresses.
    pub addresses: Vec<String>,
    /// Our certificate, where they speak mutual TLS.
    pub tls: Option<Current<Mutual>>,
}

impl Nodes {
    /// An error for an address that does not go with the certificates, or their lack.
    pub fn new(addresses: Vec<String>, tls: Option<Current<Mutual>>) -> anyhow::Result<Self> {
        for address in &addresses {
            match (&tls, address.split_once("://")) {
                (_, None) | (None, Some(("http", _))) | (Some(_), Some(("https", _))) => {}
                (None, Some(("https", _))) => {
                    bail!("--nodes {address}: mutual TLS needs a certificate: --peer-tls DIR")
                }
                (Some(_), Some(("http", _))) => {
                    bail!(
                        "--nodes {address}: with --peer-tls the admin API is at https://HOST:PORT (--admin-tls-listen)"
                    )
                }
                (_, Some((scheme, _))) => bail!("--nodes {address}: {scheme:?} is not http or https"),
            }
        }
        Ok(Self { addresses, tls })
    }

    fn client(&self, address: &str) -> AdminClient {
        match &self.tls {
            Some(tls) => AdminClient::secured(address, tls.clone()),
            None => AdminClient::new(address),
        }
    }
}

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
    pub async fn ask(nodes: &Nodes) -> anyhow::Result<Self> {
        let asked = nodes.addresses.iter().map(|address| async {
            let admin = nodes.client(address);
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
            let bare = admin.split_once("://").map_or(admin, |(_, bare)| bare);
            let addresses = [admin, bare, &node.state.address];
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
