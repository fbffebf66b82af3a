//! Storage nodes in memory: a node is there while its StatefulSet is, and its store is its claim's.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use partita_model::admin::{GroupState, JobState, StoreState};
use partita_model::partition::{GroupId, PartitionKind};
use partita_model::table::record::PartitionSizes;

use super::NAMESPACE;
use super::cluster::Cluster;
use crate::nodes::{Answer, Call, NodeError, Nodes};

/// Asking about a job so often sees it done.
const JOB_ASKED: u32 = 3;

/// All storage nodes.
#[derive(Clone)]
pub struct FakeNodes(Arc<Mutex<Inner>>);

struct Inner {
    cluster: Cluster,
    /// By the uid of the claim.
    stores: BTreeMap<String, StoreState>,
    /// How often each group was made.
    made: BTreeMap<GroupId, u32>,
    /// How often each job was asked about, by its description.
    jobs: BTreeMap<String, u32>,
    /// Nodes that do not answer, by StatefulSet.
    silent: Vec<String>,
    calls: Vec<String>,
}

impl FakeNodes {
    /// The nodes of a cluster.
    pub fn of(cluster: Cluster) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            cluster,
            stores: BTreeMap::new(),
            made: BTreeMap::new(),
            jobs: BTreeMap::new(),
            silent: Vec::new(),
            calls: Vec::new(),
        })))
    }

    /// How often each group was made.
    pub fn made(&self) -> BTreeMap<GroupId, u32> {
        self.0.lock().made.clone()
    }

    /// These nodes do not answer.
    pub fn silence(&self, nodes: &[&str]) {
        self.0.lock().silent = nodes.iter().map(ToString::to_string).collect();
    }

    /// Calls since the last time.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().calls)
    }

    /// Puts this many items into every group of every store.
    pub fn fill(&self, items: u64, bytes: u64) {
        let mut inner = self.0.lock();
        for group in inner.stores.values_mut().flat_map(|store| &mut store.groups) {
            (group.sizes.items, group.sizes.bytes) = (items, bytes);
        }
    }

    /// Changes the store of a node.
    pub fn store_of(&self, node: &str, change: impl FnOnce(&mut StoreState)) {
        let mut inner = self.0.lock();
        let claim = inner.claim(node).unwrap();
        change(inner.stores.get_mut(&claim).unwrap());
    }

    /// Every group that is there.
    pub fn groups(&self) -> Vec<GroupState> {
        let inner = self.0.lock();
        let stores = inner.stores.values();
        stores.flat_map(|store| store.groups.clone()).collect()
    }
}

impl Inner {
    /// The claim of a node that runs.
    fn claim(&self, node: &str) -> Option<String> {
        self.cluster.get("statefulsets", NAMESPACE, node)?;
        let claim = self
            .cluster
            .get("persistentvolumeclaims", NAMESPACE, &format!("data-{node}-0"))?;
        claim["metadata"]["uid"].as_str().map(str::to_owned)
    }

    fn store(&mut self, host: &str) -> Result<&mut StoreState, NodeError> {
        let silent = || NodeError::Silent(host.to_owned(), "nobody there".to_owned());
        let (pod, _) = host.split_once('.').unwrap();
        let node = pod.strip_suffix("-0").unwrap().to_owned();
        if self.silent.contains(&node) {
            return Err(silent());
        }
        let claim = self.claim(&node).ok_or_else(silent)?;
        let fresh = StoreState {
            uuid: format!("store-of-{claim}"),
            version: "0".to_owned(),
            cluster: String::new(),
            address: String::new(),
            draining: false,
            groups: Vec::new(),
        };
        Ok(self.stores.entry(claim).or_insert(fresh))
    }

    fn take(&mut self, host: &str, call: &Call) -> Result<Answer, NodeError> {
        self.calls.push(describe(host, call));
        let job = format!("{host} {call:?}");
        let store = self.store(host)?;
        let find = |groups: &mut Vec<GroupState>, id: GroupId| groups.iter().position(|g| g.descriptor.group == id);
        match call {
            Call::Bootstrap(descriptor) => {
                let group = descriptor.group;
                match find(&mut store.groups, group) {
                    Some(at) => assert_eq!(store.groups[at].descriptor.start, descriptor.start),
                    None => {
                        store.groups.push(GroupState {
                            lineage: Default::default(),
                            descriptor: descriptor.as_ref().clone(),
                            leader: true,
                            term: 1,
                            applied: 1,
                            sizes: PartitionSizes::default(),
                            replication: Default::default(),
                            load: Default::default(),
                        });
                        *self.made.entry(group).or_default() += 1;
                    }
                }
                Ok(Answer::Done)
            }
            Call::Remove(group) => {
                store.groups.retain(|state| state.descriptor.group != *group);
                Ok(Answer::Done)
            }
            Call::SetSchema(group, schema) => {
                let at = find(&mut store.groups, *group).expect("the group is there");
                store.groups[at].descriptor.kind = PartitionKind::Table(Arc::clone(schema));
                Ok(Answer::Done)
            }
            Call::Backfill(group, index) => {
                let at = find(&mut store.groups, *group).expect("the group is there");
                let schema = store.groups[at].descriptor.schema().cloned().expect("a table's");
                assert!(schema.global_index(*index).is_some(), "it must know the index first");
                Ok(self.job(job))
            }
            Call::Expiry(group, _) => {
                find(&mut store.groups, *group).expect("the group is there");
                Ok(self.job(job))
            }
        }
    }

    fn job(&mut self, job: String) -> Answer {
        let asked = self.jobs.entry(job).or_default();
        *asked += 1;
        Answer::Job(JobState {
            done: *asked >= JOB_ASKED,
            rows: u64::from(*asked),
            waiting: None,
        })
    }
}

fn describe(host: &str, call: &Call) -> String {
    let (pod, _) = host.split_once('.').unwrap();
    let what = match call {
        Call::Bootstrap(_) => "make",
        Call::Remove(_) => "remove",
        Call::SetSchema(..) => "schema",
        Call::Backfill(..) => "backfill",
        Call::Expiry(_, true) => "expiry on",
        Call::Expiry(_, false) => "expiry off",
    };
    format!("{what} {pod}")
}

impl Nodes for FakeNodes {
    fn store<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<StoreState, NodeError>> {
        Box::pin(async move {
            let mut inner = self.0.lock();
            inner.calls.push(format!("ask {}", host.split('.').next().unwrap()));
            inner.store(host).cloned()
        })
    }

    fn call<'a>(&'a self, host: &'a str, call: &'a Call) -> BoxFuture<'a, Result<Answer, NodeError>> {
        Box::pin(async move {
            let cluster = self.0.lock().cluster.clone();
            if !cluster.spend() {
                return std::future::pending().await;
            }
            self.0.lock().take(host, call)
        })
    }
}
