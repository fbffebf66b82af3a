//! Three replicas as processes, with the groups of one table among them, and a client that follows the leader.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use partita_model::partition::{GroupId, PartitionDescriptor};
use partita_model::request::Refusal;
use partita_model::table::TableSpec;
use partita_model::table::record::Record;
use partita_transport::{CallError, Reason};
use serde_json::{Value, json};

use super::node::{Cluster, Node, eventually, path};
use super::router::entry;
use super::shared::{PATIENCE, until};
use super::table::{get, put, record, spec, text, thing};

pub const NAMES: [&str; 3] = ["first", "second", "third"];
/// A table here has one read unit: what is tested is not its capacity.
const UNLIMITED: [&str; 2] = ["--admission", "off"];

/// See the module's header.
pub struct Trio {
    pub cluster: Cluster,
    pub record: Record,
    /// Those that run, by name.
    pub nodes: BTreeMap<&'static str, Node>,
    /// What they are started with.
    arguments: &'static [&'static str],
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Acknowledged,
    /// Nobody knows.
    Unknown,
}

impl Trio {
    /// With a table of one partition, which has a leader.
    pub async fn start() -> Self {
        Self::with(spec(1, false, false)).await
    }

    /// With this table; leaders are spread over the nodes.
    pub async fn with(spec: TableSpec) -> Self {
        Self::of(record(spec), &UNLIMITED).await
    }

    /// With this table, and nodes that have these arguments.
    pub async fn of(record: Record, arguments: &'static [&'static str]) -> Self {
        let cluster = Cluster::new();
        let nodes = NAMES
            .iter()
            .map(|name| (*name, cluster.start_with(name, arguments)))
            .collect();
        let trio = Self {
            cluster,
            record,
            nodes,
            arguments,
        };
        for (descriptor, first) in trio.partitions().iter().zip(0..) {
            let body = trio.birth(descriptor, first);
            for node in trio.nodes.values() {
                node.put(&format!("{}/voters", path(descriptor.group)), &body);
            }
        }
        trio.publish();
        trio.leader().await;
        trio
    }

    /// The partitions of the table and of its indexes.
    pub fn partitions(&self) -> Vec<PartitionDescriptor> {
        let indexes = self
            .record
            .global
            .iter()
            .flat_map(|index| self.record.index_descriptors(index));
        self.record.table_descriptors().into_iter().chain(indexes).collect()
    }

    pub fn descriptor(&self) -> PartitionDescriptor {
        self.record.table_descriptors().remove(0)
    }

    /// The group of the table's first partition.
    pub fn group(&self) -> GroupId {
        self.descriptor().group
    }

    /// What makes a group whose first leader is the node of that place.
    pub fn birth(&self, descriptor: &PartitionDescriptor, first: usize) -> Value {
        let mut voters: Vec<Value> = self.nodes.values().map(store).collect();
        let places = voters.len();
        voters.rotate_left(first % places);
        json!({"descriptor": descriptor, "voters": voters})
    }

    /// Tells routers and replicas where everything is. It takes the first node for every leader.
    pub fn publish(&self) {
        let addresses: Vec<&str> = self.nodes.values().map(Node::address).collect();
        let partitions = self.partitions();
        let mut entry = entry(&self.record, &[(self.nodes.values().next().unwrap(), &partitions)]);
        let groups = partitions
            .iter()
            .map(|one| (format!("{:016x}", one.group.0), json!(addresses)));
        entry["replicas"] = Value::Object(groups.collect());
        self.cluster.publish(1, &[entry]);
    }

    /// What a node says of the group.
    pub fn state(&self, name: &str) -> Value {
        self.nodes[name].expect(200, "GET", &path(self.group()), "")
    }

    /// Waits for a leader that serves; its name.
    pub async fn leader(&self) -> &'static str {
        eventually("a leader", async || {
            for (name, node) in &self.nodes {
                let known = node.peer().leader(self.group(), Duration::from_secs(1)).await;
                if known.is_ok_and(|known| known.leads) {
                    return Some(*name);
                }
            }
            None
        })
        .await
    }

    /// Waits until a node has applied what another has.
    pub fn caught_up(&self, name: &str, leader: &str) {
        until("the replica to have caught up", || {
            let (own, leads) = (self.state(name), self.state(leader));
            (own["applied"] == leads["applied"]).then_some(())
        });
    }

    /// Puts a thing, wherever the leader is.
    pub async fn put(&self, pk: &str, colour: &str) -> Outcome {
        let begin = Instant::now();
        loop {
            for node in self.nodes.values() {
                let request = put(&self.record, thing(pk, Some(colour), None));
                match node.peer().write(self.group(), request).await {
                    Ok(_) => return Outcome::Acknowledged,
                    Err(CallError::Lost(_)) => return Outcome::Unknown,
                    Err(CallError::Refused(refused)) => match refused.reason {
                        Reason::Refusal(Refusal::UnknownFate) => return Outcome::Unknown,
                        Reason::Refusal(Refusal::NotLeader | Refusal::Stopping) => {}
                        other => panic!("{other}"),
                    },
                    Err(CallError::NotSent(_)) => {}
                }
            }
            assert!(begin.elapsed() < PATIENCE, "nobody takes {pk}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Puts a thing until it is acknowledged: where machines are slow, leaders change, and then nobody knows what became of it.
    pub async fn written(&self, pk: &str, colour: &str) {
        while self.put(pk, colour).await != Outcome::Acknowledged {}
    }

    /// A call at the group's leader, whoever that is by now, asked again under the same id where it is not known what came of
    /// it: status and body of the answer.
    pub fn at_leader(&self, path: &str, body: &Value) -> (u16, Value) {
        let passes = |answer: &Value| {
            let code = answer["code"].as_str().unwrap_or_default();
            ["notLeader", "unknownFate", "busy"].contains(&code)
        };
        until("an answer of the leader", || {
            let answers = self.nodes.values().map(|node| {
                let (status, answer) = node.admin("PUT", path, &body.to_string());
                (status, serde_json::from_str::<Value>(&answer).unwrap())
            });
            answers.into_iter().find(|(_, answer)| !passes(answer))
        })
    }

    /// A thing's colour, by a strong read.
    pub async fn colour(&self, pk: &str) -> Option<String> {
        eventually("an answer to a strong read", async || {
            for node in self.nodes.values() {
                if let Ok(reply) = node.peer().get(self.group(), get(&self.record, pk)).await {
                    return Some(reply.item.map(|item| text(&item, "colour")));
                }
            }
            None
        })
        .await
    }

    /// Ends a node in the middle of whatever it does.
    pub fn kill(&mut self, name: &str) {
        self.nodes.remove(name).unwrap().kill();
    }

    /// Starts a node again, with what it has, at another address.
    pub fn restart(&mut self, name: &'static str) {
        self.restart_at(name, "127.0.0.1:0");
    }

    /// The same, at this address.
    pub fn restart_at(&mut self, name: &'static str, address: &str) {
        let node = self.cluster.start_at(name, address, self.arguments);
        self.nodes.insert(name, node);
    }
}

/// A store and where it is, as the admin API takes it.
pub fn store(node: &Node) -> Value {
    let state = node.expect(200, "GET", "/store", "");
    json!({"store": state["uuid"], "address": node.address()})
}
