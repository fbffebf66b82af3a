//! Storage nodes in memory: a node is there while its pod is, and its store is its claim's. Groups are as a quorum of their
//! members would have them ([`super::groups`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use partita_model::admin::{
    Ancestor, Frozen, GroupState, JobState, Lineage, MergeDone, MergeOutcome, Split, SplitDone, SplitPlace, StoreState,
};
use partita_model::key::KeyBytes;
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};

use super::NAMESPACE;
use super::cluster::Cluster;
use super::groups::{FakeGroup, replica_of};
use crate::nodes::{Answer, Call, NodeError, Nodes};

/// Asking about a job so often sees it done.
const JOB_ASKED: u32 = 3;

/// Makes an error of a node's name and its reason.
type Failure = fn(String, String) -> NodeError;

/// All storage nodes.
#[derive(Clone)]
pub struct FakeNodes(Arc<Mutex<Inner>>);

struct Inner {
    cluster: Cluster,
    /// By the uid of the claim.
    stores: BTreeMap<String, StoreState>,
    /// What the replicas of each group agree on.
    groups: BTreeMap<GroupId, FakeGroup>,
    /// How often each job was asked about, by its description.
    jobs: BTreeMap<String, u32>,
    /// Nodes that do not answer, by pod.
    silent: Vec<String>,
    /// New replicas do not catch up, and nothing stands still everywhere.
    slow: bool,
    /// Merges that find that their source does not stand still yet, as far as is known there.
    unheard: u32,
    /// Why nothing can be split.
    indivisible: Option<String>,
    /// Why no job goes on.
    held: Option<String>,
    /// Calls that fail, by what they ask for.
    failing: BTreeMap<String, Failure>,
    calls: Vec<String>,
}

impl FakeNodes {
    /// The nodes of a cluster.
    pub fn of(cluster: Cluster) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            cluster,
            stores: BTreeMap::new(),
            groups: BTreeMap::new(),
            jobs: BTreeMap::new(),
            silent: Vec::new(),
            slow: false,
            unheard: 0,
            indivisible: None,
            held: None,
            failing: BTreeMap::new(),
            calls: Vec::new(),
        })))
    }

    /// How often each group was made.
    pub fn made(&self) -> BTreeMap<GroupId, u32> {
        let inner = self.0.lock();
        let made = inner.groups.iter().filter(|(_, group)| group.made > 0);
        made.map(|(id, group)| (*id, group.made)).collect()
    }

    /// These nodes do not answer.
    pub fn silence(&self, pods: &[&str]) {
        self.0.lock().silent = pods.iter().map(ToString::to_string).collect();
    }

    /// Whether new replicas catch up.
    pub fn slow_down(&self, slow: bool) {
        self.0.lock().slow = slow;
    }

    /// So many merges come before the absorber's stores know of the freeze.
    pub fn tell_late_of_freezes(&self, merges: u32) {
        self.0.lock().unheard = merges;
    }

    /// Splits are refused.
    pub fn refuse_splits(&self, why: Option<&str>) {
        self.0.lock().indivisible = why.map(str::to_owned);
    }

    /// Jobs do not go on, for this reason.
    pub fn hold_jobs(&self, why: Option<&str>) {
        self.0.lock().held = why.map(str::to_owned);
    }

    /// Calls of this kind fail, and nothing is done.
    pub fn fail(&self, what: &str, failure: Failure) {
        self.0.lock().failing.insert(what.to_owned(), failure);
    }

    /// Calls of this kind succeed again.
    pub fn heal(&self, what: &str) {
        self.0.lock().failing.remove(what);
    }

    /// Whether any group stands still for a merge.
    pub fn stands_still(&self) -> bool {
        self.groups().iter().any(|group| group.lineage.frozen.is_some())
    }

    /// Somebody else than the operator tells the leader of a group something.
    pub fn tell(&self, group: GroupId, call: &Call) {
        let (_, leader) = self.voters(group);
        let told = self.0.lock().take(&format!("{}.x", leader.unwrap()), call);
        assert!(told.is_ok(), "{told:?}");
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

    /// Changes the store of a pod.
    pub fn store_of(&self, pod: &str, change: impl FnOnce(&mut StoreState)) {
        let mut inner = self.0.lock();
        let claim = inner.claim(pod).unwrap();
        change(inner.stores.get_mut(&claim).unwrap());
    }

    /// Every group that is there, once for each of its replicas.
    pub fn groups(&self) -> Vec<GroupState> {
        let inner = self.0.lock();
        let stores = inner.stores.values();
        stores.flat_map(|store| store.groups.clone()).collect()
    }

    /// The pods of a group's voters, and the one of its leader.
    pub fn voters(&self, group: GroupId) -> (Vec<String>, Option<String>) {
        let mut inner = self.0.lock();
        inner.elect();
        let at = inner.places();
        let known = &inner.groups[&group];
        let place = |store: &String| at.get(store).cloned().unwrap_or_else(|| store.clone());
        let mut voters: Vec<String> = known.voters().map(|member| place(&member.store)).collect();
        voters.sort();
        let leader = known.leader.and_then(|leader| known.member(leader));
        (voters, leader.map(|leader| place(&leader.store)))
    }

    /// `partita admin recover`: a group goes on with a pod's replica.
    pub fn recover(&self, group: GroupId, pod: &str) {
        let mut inner = self.0.lock();
        let store = inner.store_in(pod).unwrap().uuid.clone();
        let Inner { stores, groups, .. } = &mut *inner;
        let known = groups.get_mut(&group).unwrap();
        // The others keep what they knew.
        for state in states(stores, group) {
            known.show(state, false);
        }
        known.recover(&store);
    }

    /// Lets another pod's replica lead.
    pub fn let_lead(&self, group: GroupId, pod: &str) {
        let mut inner = self.0.lock();
        let store = inner.store_in(pod).unwrap().uuid.clone();
        inner.groups.get_mut(&group).unwrap().let_lead(&store);
    }
}

impl Inner {
    /// The claim of a pod that runs.
    fn claim(&self, pod: &str) -> Option<String> {
        self.cluster.get("pods", NAMESPACE, pod)?;
        let claim = self
            .cluster
            .get("persistentvolumeclaims", NAMESPACE, &format!("data-{pod}"))?;
        claim["metadata"]["uid"].as_str().map(str::to_owned)
    }

    fn store_in(&mut self, pod: &str) -> Option<&mut StoreState> {
        if self.silent.iter().any(|silent| silent == pod) {
            return None;
        }
        let claim = self.claim(pod)?;
        let fresh = fresh_store(&claim);
        Some(self.stores.entry(claim).or_insert(fresh))
    }

    /// Where each store is that answers.
    fn places(&self) -> BTreeMap<String, String> {
        let pods = self.cluster.names("pods").into_iter();
        let answering = pods.filter(|pod| !self.silent.contains(pod));
        let stores = answering.filter_map(|pod| Some((self.stores.get(&self.claim(&pod)?)?.uuid.clone(), pod)));
        stores.collect()
    }

    /// Groups whose leader is gone elect another one, if enough voters are there.
    fn elect(&mut self) {
        let places = self.places();
        let mut there: BTreeMap<GroupId, Vec<u64>> = BTreeMap::new();
        for store in self.stores.values().filter(|store| places.contains_key(&store.uuid)) {
            for group in &store.groups {
                let replica = replica_of(group);
                there.entry(group.descriptor.group).or_default().push(replica);
            }
        }
        for (id, group) in &mut self.groups {
            group.elect(there.get(id).map_or(&[][..], Vec::as_slice));
        }
    }

    /// A store as it answers: with what its groups' replicas know.
    fn shown(&mut self, pod: &str) -> Option<StoreState> {
        self.store_in(pod)?;
        self.elect();
        let slow = self.slow;
        let (mut store, groups) = (self.store_in(pod)?.clone(), &self.groups);
        for state in &mut store.groups {
            if let Some(group) = groups.get(&state.descriptor.group) {
                group.show(state, slow);
            }
        }
        Some(store)
    }

    fn take(&mut self, host: &str, call: &Call) -> Result<Answer, NodeError> {
        let description = describe(host, call);
        let what = description.rsplit_once(' ').map_or("", |(what, _)| what);
        let failure = self.failing.get(what).copied();
        self.calls.push(description);
        if let Some(failure) = failure {
            return Err(failure(host.to_owned(), "as the test wants it".to_owned()));
        }
        let job = format!("{host} {call:?}");
        let pod = host.split('.').next().unwrap().to_owned();
        let silent = NodeError::Silent(host.to_owned(), "nobody there".to_owned());
        let Some(store) = self.shown(&pod) else {
            return Err(silent);
        };
        let here = |id: GroupId| store.groups.iter().find(|state| state.descriptor.group == id);
        let not_leader = || Err(NodeError::NotYet(host.to_owned(), "another replica leads".to_owned()));
        let leads = |id: GroupId| here(id).is_some_and(|state| state.leader);
        let serves = |id: GroupId| leads(id) && here(id).is_some_and(|state| state.lineage.frozen.is_none());
        match call {
            Call::Bootstrap(bootstrap) => {
                let (id, voters) = (bootstrap.descriptor.group, &bootstrap.voters);
                let group = self.groups.entry(id).or_insert_with(|| FakeGroup::of(voters));
                let replica = group.born(&store.uuid, voters);
                self.place(&pod, &bootstrap.descriptor, replica);
                Ok(Answer::Done)
            }
            Call::MakeRoom(room) => {
                let id = room.descriptor.group;
                assert!(
                    here(id).is_none_or(|state| replica_of(state) == room.replica),
                    "what is left goes first"
                );
                assert_eq!(self.groups[&id].member(room.replica).unwrap().store, store.uuid);
                self.place(&pod, &room.descriptor, room.replica);
                Ok(Answer::Done)
            }
            Call::Remove(group, replica) => {
                self.store_in(&pod)
                    .unwrap()
                    .groups
                    .retain(|state| state.descriptor.group != *group || replica_of(state) != *replica);
                Ok(Answer::Done)
            }
            Call::Backfill(id, _) | Call::Expiry(id, _) | Call::SetSchema(id, _) | Call::Split(id, _)
                if !serves(*id) =>
            {
                not_leader()
            }
            Call::Change(id, _)
            | Call::HandOver(id, _)
            | Call::Freeze(id, ..)
            | Call::Merge(id, ..)
            | Call::RefuseMerge(id, ..)
            | Call::Thaw(id, _)
                if !leads(*id) =>
            {
                not_leader()
            }
            Call::Change(id, change) => {
                let slow = self.slow;
                self.groups.get_mut(id).unwrap().change(change, slow);
                Ok(Answer::Done)
            }
            Call::HandOver(id, replica) => {
                self.groups.get_mut(id).unwrap().hand_over(*replica);
                Ok(Answer::Done)
            }
            Call::SetSchema(id, schema) => {
                let stores = self.stores.values_mut().flat_map(|store| &mut store.groups);
                for state in stores.filter(|state| state.descriptor.group == *id) {
                    state.descriptor.kind = PartitionKind::Table(Arc::clone(schema));
                }
                Ok(Answer::Done)
            }
            Call::Backfill(id, index) => {
                let schema = here(*id).unwrap().descriptor.schema().cloned().expect("a table's");
                assert!(schema.global_index(*index).is_some(), "it must know the index first");
                Ok(self.job(job))
            }
            Call::Expiry(..) => Ok(self.job(job)),
            Call::Split(id, split) => self.split(host, *id, split),
            Call::Freeze(source, absorber, merge) => Ok(self.freeze(*source, *absorber, merge)),
            Call::Merge(absorber, source, merge) => self.merge(host, *absorber, *source, merge),
            Call::RefuseMerge(absorber, source, merge) => {
                Ok(self.decide(*absorber, *source, merge, MergeOutcome::Refused))
            }
            Call::Thaw(source, _) => {
                for state in states(&mut self.stores, *source) {
                    state.lineage.frozen = None;
                }
                Ok(Answer::Done)
            }
        }
    }

    /// One replica of a group is as good as the other.
    fn state(&mut self, group: GroupId) -> GroupState {
        states(&mut self.stores, group).next().unwrap().clone()
    }

    fn split(&mut self, host: &str, id: GroupId, split: &Split) -> Result<Answer, NodeError> {
        let parent = self.state(id);
        if parent.lineage.splits.iter().any(|made| made.child == split.child) {
            return Ok(Answer::Done);
        }
        let epoch = parent.descriptor.range_epoch;
        if split.expected_epoch.is_some_and(|expected| expected != epoch) {
            return Err(NodeError::NotYet(host.to_owned(), "another epoch".to_owned()));
        }
        if let Some(why) = &self.indivisible {
            return Err(NodeError::Refused(host.to_owned(), why.clone()));
        }
        let key = match &split.at {
            SplitPlace::Key(key) => key.clone(),
            SplitPlace::Middle => middle(&parent.descriptor),
        };
        assert!(key > parent.descriptor.start && parent.descriptor.end.as_ref().is_none_or(|end| key < *end));
        assert!(
            self.groups.insert(split.child, self.groups[&id].child()).is_none(),
            "its id is taken"
        );
        for store in self.stores.values_mut() {
            let Some(parent) = store.groups.iter_mut().find(|state| state.descriptor.group == id) else {
                continue;
            };
            parent.sizes.items /= 2;
            parent.sizes.bytes /= 2;
            let mut child = parent.clone();
            child.descriptor.group = split.child;
            child.descriptor.start = key.clone();
            child.lineage = Lineage {
                ancestors: parent.lineage.ancestors.clone(),
                ..Lineage::default()
            };
            child.lineage.ancestors.push(Ancestor {
                group: id,
                until_epoch: epoch + 1,
            });
            parent.descriptor.end = Some(key.clone());
            parent.lineage.splits.push(SplitDone {
                id: String::new(),
                key: key.clone(),
                child: split.child,
                range_epoch: epoch + 1,
            });
            (parent.descriptor.range_epoch, child.descriptor.range_epoch) = (epoch + 1, epoch + 1);
            store.groups.push(child);
        }
        Ok(Answer::Done)
    }

    fn freeze(&mut self, source: GroupId, absorber: GroupId, merge: &str) -> Answer {
        let everywhere = !self.slow;
        for state in states(&mut self.stores, source) {
            state.lineage.frozen = Some(Frozen {
                id: merge.to_owned(),
                absorber,
                everywhere,
            });
        }
        Answer::Frozen(everywhere)
    }

    fn merge(&mut self, host: &str, absorber: GroupId, source: GroupId, merge: &str) -> Result<Answer, NodeError> {
        let known = self.state(absorber).lineage.merges;
        if let Some(done) = known.into_iter().find(|done| done.id == merge) {
            return Ok(Answer::Decided(done));
        }
        let gone = self.state(source);
        let frozen = gone.lineage.frozen.as_ref();
        assert!(
            frozen.is_some_and(|frozen| frozen.id == merge && frozen.everywhere),
            "it does not stand still"
        );
        if self.unheard > 0 {
            self.unheard -= 1;
            return Err(NodeError::NotFrozen(host.to_owned(), "not everywhere".to_owned()));
        }
        if self.groups[&absorber].stores() != self.groups[&source].stores() {
            return Err(NodeError::Refused(
                host.to_owned(),
                "they are on other stores".to_owned(),
            ));
        }
        let epoch = self
            .state(absorber)
            .descriptor
            .range_epoch
            .max(gone.descriptor.range_epoch)
            + 1;
        for state in states(&mut self.stores, absorber) {
            assert_eq!(
                state.descriptor.end.as_ref(),
                Some(&gone.descriptor.start),
                "they are no neighbours"
            );
            state.descriptor.end = gone.descriptor.end.clone();
            state.descriptor.range_epoch = epoch;
            state.sizes.items += gone.sizes.items;
            state.sizes.bytes += gone.sizes.bytes;
        }
        for store in self.stores.values_mut() {
            store.groups.retain(|state| state.descriptor.group != source);
        }
        Ok(self.decide(absorber, source, merge, MergeOutcome::Merged { range_epoch: epoch }))
    }

    fn decide(&mut self, absorber: GroupId, source: GroupId, merge: &str, outcome: MergeOutcome) -> Answer {
        let done = MergeDone {
            id: merge.to_owned(),
            source,
            outcome,
        };
        for state in states(&mut self.stores, absorber) {
            state.lineage.merges.push(done.clone());
        }
        Answer::Decided(done)
    }

    /// Puts a replica into a store, unless it is there.
    fn place(&mut self, pod: &str, descriptor: &PartitionDescriptor, replica: u64) {
        let store = self.store_in(pod).unwrap();
        match store
            .groups
            .iter()
            .find(|state| state.descriptor.group == descriptor.group)
        {
            Some(state) => assert_eq!(state.descriptor.start, descriptor.start),
            None => store.groups.push(FakeGroup::replica(descriptor, replica)),
        }
    }

    fn job(&mut self, job: String) -> Answer {
        if self.held.is_some() {
            return Answer::Job(JobState {
                done: false,
                rows: 1,
                waiting: self.held.clone(),
            });
        }
        let asked = self.jobs.entry(job).or_default();
        *asked += 1;
        Answer::Job(JobState {
            done: *asked >= JOB_ASKED,
            rows: u64::from(*asked),
            waiting: None,
        })
    }
}

/// All replicas of a group.
fn states(stores: &mut BTreeMap<String, StoreState>, group: GroupId) -> impl Iterator<Item = &mut GroupState> {
    let all = stores.values_mut().flat_map(|store| &mut store.groups);
    all.filter(move |state| state.descriptor.group == group)
}

/// The middle of a range's hashes.
fn middle(descriptor: &PartitionDescriptor) -> KeyBytes {
    let first = |key: &KeyBytes| {
        let bytes = key.0.iter().copied().chain(std::iter::repeat(0)).take(8);
        bytes.fold(0_u128, |hash, byte| hash << 8 | u128::from(byte))
    };
    let end = descriptor.end.as_ref().map_or(1 << 64, first);
    let middle = (first(&descriptor.start) + end) / 2;
    KeyBytes((middle as u64).to_be_bytes().to_vec())
}

fn describe(host: &str, call: &Call) -> String {
    let (pod, _) = host.split_once('.').unwrap();
    let what = match call {
        Call::Bootstrap(_) => "make".to_owned(),
        Call::MakeRoom(_) => "room".to_owned(),
        Call::Change(_, change) => format!("change {:?}", change.step),
        Call::HandOver(_, replica) => format!("hand over to {replica}"),
        Call::Remove(..) => "remove".to_owned(),
        Call::SetSchema(..) => "schema".to_owned(),
        Call::Backfill(..) => "backfill".to_owned(),
        Call::Expiry(_, true) => "expiry on".to_owned(),
        Call::Expiry(_, false) => "expiry off".to_owned(),
        Call::Split(..) => "split".to_owned(),
        Call::Freeze(..) => "freeze".to_owned(),
        Call::Merge(..) => "merge".to_owned(),
        Call::RefuseMerge(..) => "refuse".to_owned(),
        Call::Thaw(..) => "thaw".to_owned(),
    };
    format!("{what} {pod}")
}

impl Nodes for FakeNodes {
    fn store<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<StoreState, NodeError>> {
        Box::pin(async move {
            let mut inner = self.0.lock();
            let pod = host.split('.').next().unwrap();
            inner.calls.push(format!("ask {pod}"));
            let silent = || NodeError::Silent(host.to_owned(), "nobody there".to_owned());
            inner.shown(pod).ok_or_else(silent)
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

/// A store that has nothing yet, named after what it is in.
pub fn fresh_store(place: &str) -> StoreState {
    StoreState {
        uuid: format!("store-of-{place}"),
        version: "0".to_owned(),
        cluster: String::new(),
        address: String::new(),
        draining: false,
        volume: None,
        groups: Vec::new(),
    }
}
