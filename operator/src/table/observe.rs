//! What there is: the Table, its children, its volumes' claims, and what its storage nodes say.
//!
//! 1. The record of the table (`status.state`), and its partitions from their resources;
//! 2. its children, from the caches of the API server's watches;
//! 3. claims and pods, listed afresh, when a table begins, has lost resources or is deleted: then old knowledge would do harm;
//! 4. the storage nodes, all replicas of a partition together: all of them while something is under way, at rest those that may not be well, and all that are due
//!    to be measured;
//! 5. their pods, when a node does not answer, or is not made from what its StatefulSet says now; and whether the volumes of those
//!    that find no place are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::ListParams;
use kube::runtime::reflector::Store;
use kube::{Api, Resource, ResourceExt};
use partita_crds::table::DeletionPolicy;
use partita_crds::{Partition, PartitionPhase, Table, names, ranges};
use partita_model::admin::{StoreState, VolumeState};
use partita_model::hexadecimal::parse_id;
use partita_model::partition::GroupId;
use partita_model::schema::TableId;
use partita_model::table::Status;
use partita_model::table::record::{FORMAT, IndexPhase, PartitionLimits, Record, cover};

use super::Context;
use super::children::places::{Place, Places, number};
use super::children::{self, Piece, growth, hosts, selector};
use super::claims::{self, Claim};
use super::lost::{self, Gone};
use super::plan::{repartition, retire};
use super::pods::{self, StoragePod};
use crate::nodes::NodeName;

/// Everything that a plan is made from.
#[derive(Debug, Clone)]
pub struct Observed {
    /// The Table.
    pub table: Arc<Table>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is kept of it.
    pub kept: Kept,
    /// Keys whose Partition resources are missing though the table is there.
    pub uncovered: Option<String>,
    /// The other Table that has this table's name.
    pub rival: Option<String>,
    /// Its Partitions, by name.
    pub partitions: BTreeMap<String, Arc<Partition>>,
    /// Where these say that its partitions are.
    pub places: Places,
    /// Its StatefulSets, by name.
    pub stateful_sets: BTreeMap<String, Arc<StatefulSet>>,
    /// Its Services, by name.
    pub services: BTreeMap<String, Arc<Service>>,
    /// Its PodDisruptionBudgets, by name.
    pub disruption_budgets: BTreeMap<String, Arc<PodDisruptionBudget>>,
    /// Claims of storage nodes in its namespace; empty unless they matter.
    pub claims: Vec<Claim>,
    /// Pods of a table that is being deleted.
    pub pods: usize,
    /// What is left of storage nodes whose StatefulSet is gone.
    pub retired: BTreeMap<String, Left>,
    /// Pods of the storage nodes; empty unless there is something to see.
    pub storage_pods: BTreeMap<NodeName, StoragePod>,
    /// Storage nodes whose volumes can be used nowhere any more.
    pub gone: BTreeMap<NodeName, Gone>,
    /// What the storage nodes say; those that were not asked are not there.
    pub nodes: BTreeMap<NodeName, Node>,
    /// The volumes of the storage nodes as they said last, also of those that do not answer now.
    pub volumes: BTreeMap<NodeName, VolumeState>,
    /// What the nodes are asked for.
    pub asked: Asked,
}

/// Why all storage nodes of a table at rest are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// It is due to be measured: measured columns may be written.
    pub measure: bool,
    /// Its units follow the use, and a minute is over.
    pub sample: bool,
    /// It has too few partitions, or has had too many for long.
    pub repartition: bool,
    /// For so long, in milliseconds, something has seemed to be amiss.
    pub in_doubt_for_ms: Option<u64>,
}

impl Asked {
    fn any(self) -> bool {
        self.measure || self.sample || self.repartition || self.in_doubt_for_ms.is_some()
    }
}

/// What is left of storage nodes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Left {
    /// Their pods.
    pub pods: usize,
    /// Their claims.
    pub claims: Vec<Claim>,
}

/// What is kept of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// Nothing: it is new.
    Nothing,
    /// Something that this version cannot read.
    Unreadable(String),
    /// Its record.
    Record(Box<Record>),
}

/// A storage node as it answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// It did not.
    Silent,
    /// Its store.
    Store(StoreState),
}

impl Observed {
    /// The record, if there is a readable one.
    pub fn record(&self) -> Option<&Record> {
        match &self.kept {
            Kept::Record(record) => Some(record),
            Kept::Nothing | Kept::Unreadable(_) => None,
        }
    }

    /// The table that its children are made for: the kept one, the one to be adopted, or a new one.
    pub fn id(&self) -> TableId {
        id(&self.table, self.record())
    }

    /// Every partition of the table, with its place.
    pub fn pieces(&self, record: &Record) -> Vec<Piece> {
        children::pieces(record, &self.places)
    }

    /// What a group is called in words: its Partition, if it has one.
    pub fn partition_of(&self, group: GroupId) -> String {
        match self.places.get(group) {
            Some(place) => place.name.clone(),
            None => format!("the group {:016x}", group.0),
        }
    }

    /// How many replicas each partition should have; a number that is refused changes nothing.
    pub fn replicas(&self) -> usize {
        match usize::try_from(self.table.spec.replicas) {
            Ok(replicas @ (1 | 3 | 5)) => replicas,
            _ => self.stateful_sets.values().map(|set| pods_of(set)).max().unwrap_or(1),
        }
    }

    /// How many pods a StatefulSet has.
    pub fn pods_of(&self, host: &str) -> usize {
        let set = self.stateful_sets.get(host);
        set.map_or(0, |set| pods_of(set))
    }

    /// The storage nodes of a StatefulSet: those that there are, and those that there should be.
    fn nodes_of<'a>(&self, host: &'a str) -> impl Iterator<Item = NodeName> + use<'a> {
        let all = self.pods_of(host).max(self.replicas());
        (0..all).map(move |ordinal| NodeName::new(host, ordinal))
    }

    /// Whether any storage node of a place has a replica of this group.
    pub fn holds(&self, place: &Place, group: GroupId) -> bool {
        self.nodes.iter().any(|(name, node)| match node {
            Node::Store(store) if place.is_on(&name.host) => {
                store.groups.iter().any(|state| state.descriptor.group == group)
            }
            Node::Store(_) | Node::Silent => false,
        })
    }

    /// What keeps a storage node from running, as far as its pod tells. That a volume is missing is all that the scheduler
    /// says of a claim that waits.
    pub fn trouble(&self, node: &NodeName) -> Option<String> {
        let trouble = self.storage_pods.get(node)?.trouble.clone()?;
        if !trouble.contains("PersistentVolumeClaim") {
            return Some(trouble);
        }
        let storage = self.table.spec.storage.as_ref();
        let class = storage.and_then(|storage| storage.storage_class_name.as_ref());
        let class = class.map_or("the default storage class".to_owned(), |name| {
            format!("the storage class {name}")
        });
        Some(format!(
            "{trouble}; its volume waits for {class}: `kubectl -n {} describe pvc {}` says why",
            self.namespace,
            node.claim()
        ))
    }

    /// Whether the Table is being deleted, and nothing holds it.
    pub fn deleting(&self) -> bool {
        let held = self.table.spec.deletion_protection_enabled || self.table.spec.paused;
        self.table.metadata.deletion_timestamp.is_some() && !held
    }

    /// Whether most replicas of each partition that was asked about answered: what is measured of it counts.
    pub fn most_answered(&self) -> bool {
        let mut hosts: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
        for (name, node) in &self.nodes {
            let (answered, asked) = hosts.entry(&name.host).or_default();
            *answered += usize::from(matches!(node, Node::Store(_)));
            *asked += 1;
        }
        hosts.values().all(|(answered, asked)| 2 * answered > *asked)
    }

    /// Whether every node that was asked answered.
    pub fn all_answered(&self) -> bool {
        self.nodes.values().all(|node| matches!(node, Node::Store(_)))
    }
}

/// Observes a Table.
pub async fn observe(context: &Context, table: Arc<Table>, asked: Asked) -> Result<Observed, kube::Error> {
    let namespace = table.namespace().unwrap_or_default();
    let mut kept = kept(&table);
    let id = id(
        &table,
        match &kept {
            Kept::Record(record) => Some(record),
            Kept::Nothing | Kept::Unreadable(_) => None,
        },
    );
    let partitions = of_table(&context.known.partitions, &namespace, id);
    let uncovered = match &mut kept {
        Kept::Record(record) => fill(record, &partitions, context.settings.planning.limits.partitions()),
        Kept::Nothing | Kept::Unreadable(_) => None,
    };
    let mut observed = Observed {
        name: table.name_any(),
        rival: rival(&table, &context.known.tables),
        kept,
        uncovered,
        places: Places::of(&partitions),
        partitions,
        stateful_sets: of_table(&context.known.stateful_sets, &namespace, id),
        services: of_table(&context.known.services, &namespace, id),
        disruption_budgets: of_table(&context.known.disruption_budgets, &namespace, id),
        claims: Vec::new(),
        pods: 0,
        retired: BTreeMap::new(),
        storage_pods: BTreeMap::new(),
        gone: BTreeMap::new(),
        nodes: BTreeMap::new(),
        volumes: BTreeMap::new(),
        asked,
        table,
        namespace,
    };
    list(context, &mut observed).await?;
    ask(context, &mut observed).await;
    look_at_pods(context, &mut observed).await?;
    observed.gone = lost::observe(context, &observed).await?;
    Ok(observed)
}

fn id(table: &Table, record: Option<&Record>) -> TableId {
    let adopted = || {
        let bootstrap = table.spec.bootstrap.as_ref()?;
        parse_id(bootstrap.adopt.as_deref()?).map(TableId)
    };
    match record {
        Some(record) => record.id,
        None => adopted().unwrap_or_else(|| own_id(table)),
    }
}

/// The id of a table that begins with this resource.
pub fn own_id(table: &Table) -> TableId {
    names::table_id(table.metadata.uid.as_deref().unwrap_or_default())
}

fn kept(table: &Table) -> Kept {
    let Some(state) = table.status.as_ref().and_then(|status| status.state.as_ref()) else {
        return Kept::Nothing;
    };
    match serde_json::from_value::<Record>(state.clone()) {
        Ok(record) if record.format > FORMAT => Kept::Unreadable(format!("its format {} is newer", record.format)),
        Ok(record) => Kept::Record(Box::new(record)),
        Err(error) => Kept::Unreadable(error.to_string()),
    }
}

/// Children of a table, by name.
fn of_table<K>(known: &Store<K>, namespace: &str, id: TableId) -> BTreeMap<String, Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let label = names::id_label(id);
    let found = known.state_filter(|child| {
        child.meta().namespace.as_deref() == Some(namespace) && child.labels().get(names::TABLE_ID) == Some(&label)
    });
    found.into_iter().map(|child| (child.name_any(), child)).collect()
}

/// Puts the partitions into a record: from their resources, or, while they are being made, as they are to be. Returns what is
/// missing.
fn fill(record: &mut Record, known: &BTreeMap<String, Arc<Partition>>, limits: PartitionLimits) -> Option<String> {
    let mut laid_out = record.clone();
    laid_out.lay_out(limits);
    let creating = record.status == Status::Creating;
    let known = || known.values().map(AsRef::as_ref);
    let mut missing = None;
    match cover(ranges::of(known(), None)) {
        Ok(partitions) => record.partitions = partitions,
        Err(_) if creating => record.partitions = laid_out.partitions,
        Err(gap) => missing = Some(gap.to_string()),
    }
    for (index, laid_out) in record.global.iter_mut().zip(laid_out.global) {
        if index.phase == IndexPhase::Removing {
            continue;
        }
        match cover(ranges::of(known(), Some(index.id))) {
            Ok(partitions) => index.partitions = partitions,
            Err(_) if creating || index.phase == IndexPhase::Building => index.partitions = laid_out.partitions,
            Err(gap) => missing = Some(format!("of the index {}: {gap}", index.name)),
        }
    }
    missing
}

/// Another Table of the same table name that comes first: the one that is there, else the older.
fn rival(table: &Table, known: &Store<Table>) -> Option<String> {
    let rank = |table: &Table| {
        let kept = table.status.as_ref().is_some_and(|status| status.state.is_some());
        let created = table.metadata.creation_timestamp.as_ref().map(|time| time.0);
        (!kept, created, table.metadata.uid.clone())
    };
    let others = known.state_filter(|other| {
        other.metadata.namespace == table.metadata.namespace
            && other.spec.table_name == table.spec.table_name
            && other.metadata.uid != table.metadata.uid
    });
    let first = others.into_iter().min_by_key(|other| rank(other))?;
    (rank(&first) < rank(table)).then(|| first.name_any())
}

/// Lists what must not be known from yesterday.
async fn list(context: &Context, observed: &mut Observed) -> Result<(), kube::Error> {
    let namespace = &observed.namespace;
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
    let own = selector(
        observed
            .record()
            .map_or_else(|| own_id(&observed.table), |record| record.id),
    );
    if observed.deleting() {
        if observed.table.spec.deletion_policy == DeletionPolicy::Delete && observed.stateful_sets.is_empty() {
            let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
            observed.pods = pods
                .list_metadata(&ListParams::default().labels(&own))
                .await?
                .items
                .len();
            observed.claims = claims::all(&api, &own).await?;
        }
    } else if observed.rival.is_some() || observed.table.spec.paused {
        // Nothing will be decided.
    } else if observed.kept == Kept::Nothing {
        observed.claims = claims::all(&api, names::TABLE_ID).await?;
    } else if observed.uncovered.is_some() {
        observed.claims = claims::all(&api, &own).await?;
    } else if growth::is_asked_for(observed) {
        let found = api.list(&ListParams::default().labels(&own)).await?;
        observed.claims = found.items.iter().filter_map(claims::with_volume).collect();
    }
    look_at_retired(context, observed).await
}

/// Of storage nodes that nothing is on any more, and whose StatefulSet is gone, pods and claims are still to go.
async fn look_at_retired(context: &Context, observed: &mut Observed) -> Result<(), kube::Error> {
    let nothing_will_be_decided = observed.deleting() || observed.rival.is_some() || observed.table.spec.paused;
    let Some(record) = observed
        .record()
        .filter(|_| observed.uncovered.is_none() && !nothing_will_be_decided)
    else {
        return Ok(());
    };
    let mut hosts = retire::unneeded(observed, record);
    hosts.retain(|host| !observed.stateful_sets.contains_key(host));
    if hosts.is_empty() {
        return Ok(());
    }
    let (prefix, own) = (children::prefix(record), selector(record.id));
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &observed.namespace);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &observed.namespace);
    let pods = pods.list(&ListParams::default().labels(&own)).await?.items;
    let claims = claims::all(&claims, &own).await?;
    for host in hosts {
        let number = number(&prefix, &host);
        let here = pods.iter().filter_map(pods::node).filter(|node| node.host == host);
        let left = Left {
            pods: here.count(),
            claims: claims.iter().filter(|claim| claim.place == number).cloned().collect(),
        };
        observed.retired.insert(host, left);
    }
    Ok(())
}

/// Pods tell why a node does not answer, and whether it is made from what its StatefulSet says now.
async fn look_at_pods(context: &Context, observed: &mut Observed) -> Result<(), kube::Error> {
    let nobody_looks = observed.deleting() || observed.rival.is_some();
    let outdated = observed.stateful_sets.values().any(|set| !is_up_to_date(set));
    if nobody_looks || (observed.all_answered() && !outdated) {
        return Ok(());
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &observed.namespace);
    let own = ListParams::default().labels(&selector(observed.id()));
    let found = pods.list(&own).await?.items;
    let ours = found
        .iter()
        .filter_map(|pod| Some((pods::node(pod)?, StoragePod::of(pod))));
    observed.storage_pods = ours.collect();
    Ok(())
}

/// Whether all pods of a StatefulSet are made from what it says now, as far as its controller knows.
pub fn is_up_to_date(set: &StatefulSet) -> bool {
    let status = set.status.as_ref();
    let seen = status.and_then(|status| status.observed_generation) >= set.metadata.generation;
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    seen && status.and_then(|status| status.updated_replicas).unwrap_or(0) >= wanted
}

/// Whether some pods of a StatefulSet, not all of them, are made from what it says now.
pub fn is_half_way(set: &StatefulSet) -> bool {
    let updated = set.status.as_ref().and_then(|status| status.updated_replicas);
    updated.unwrap_or(0) > 0 && !is_up_to_date(set)
}

/// How many pods a StatefulSet should have, as it says.
pub fn pods_of(set: &StatefulSet) -> usize {
    let replicas = set.spec.as_ref().and_then(|spec| spec.replicas);
    usize::try_from(replicas.unwrap_or(1)).unwrap_or(0)
}

/// Whether all pods of a StatefulSet serve.
pub fn is_serving(set: &StatefulSet) -> bool {
    let ready = set.status.as_ref().and_then(|status| status.ready_replicas);
    let wanted = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    wanted > 0 && ready.unwrap_or(0) >= wanted
}

/// Asks the storage nodes, all at once.
async fn ask(context: &Context, observed: &mut Observed) {
    let nodes = to_ask(observed);
    let answers = join_all(nodes.iter().map(|node| async {
        match context.nodes.store(&node.dns(&observed.namespace)).await {
            Ok(store) => Node::Store(store),
            Err(error) => {
                tracing::debug!(%error, "asked a storage node");
                Node::Silent
            }
        }
    }))
    .await;
    observed.nodes = nodes.iter().cloned().zip(answers).collect();
}

/// The storage nodes to be asked.
fn to_ask(observed: &Observed) -> BTreeSet<NodeName> {
    let table = &observed.table;
    if observed.deleting() || observed.rival.is_some() {
        return BTreeSet::new();
    }
    let Some(record) = observed.record().filter(|_| observed.uncovered.is_none()) else {
        return if table.spec.paused {
            BTreeSet::new()
        } else {
            with_data(observed)
        };
    };
    let pieces = observed.pieces(record);
    // Also those that nobody should be on any more.
    let all = hosts(&pieces).into_iter().chain(observed.stateful_sets.keys().cloned());
    let asked: BTreeSet<String> = if !record.settled() || observed.asked.any() || !is_at_rest(observed, &pieces) {
        all.collect()
    } else {
        let unwell = pieces.iter().filter(|piece| !is_well(observed, piece));
        unwell.map(|piece| piece.host.clone()).collect()
    };
    asked.iter().flat_map(|host| observed.nodes_of(host)).collect()
}

/// Whether every partition is where it is to stay, on storage nodes of the table.
fn is_at_rest(observed: &Observed, pieces: &[Piece]) -> bool {
    let stays = |piece: &Piece| piece.moving_to.is_none() && piece.merging_into.is_none();
    let hosts = hosts(pieces);
    pieces.iter().all(stays)
        && observed.stateful_sets.keys().all(|set| hosts.contains(set))
        && repartition::to_move(pieces).next().is_none()
}

/// Nodes that are (being made) for data that is there already.
fn with_data(observed: &Observed) -> BTreeSet<NodeName> {
    let prefix = names::prefix(&observed.table.spec.table_name, observed.id());
    let claims = observed.claims.iter().filter(|claim| claim.table == observed.id());
    let nodes =
        claims.filter_map(|claim| Some(NodeName::new(&names::partition(&prefix, claim.place?), claim.ordinal?)));
    nodes
        .filter(|node| node.ordinal < observed.pods_of(&node.host))
        .collect()
}

/// Whether a partition is ready, with all that belongs to it, as far as the API server knows.
pub fn is_well(observed: &Observed, piece: &Piece) -> bool {
    let status = observed
        .partitions
        .get(&piece.name)
        .and_then(|known| known.status.as_ref());
    let whole = format!("{0}/{0}", observed.replicas());
    let in_order = |set: &Arc<StatefulSet>| {
        let as_wanted = pods_of(set) == observed.replicas();
        as_wanted && is_serving(set) && is_up_to_date(set)
    };
    status.is_some_and(|status| status.phase == PartitionPhase::Ready && status.replicas.as_ref() == Some(&whole))
        && observed.stateful_sets.get(&piece.host).is_some_and(in_order)
}
