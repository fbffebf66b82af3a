//! What is asked of this store's partitions and what it costs, in Prometheus terms.
//!
//! Counted for each partition while it is here; labels are table, index and group, so there are as many series as the
//! store has partitions, times what is counted. The units are counted by [`crate::serving::admission`].

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use partita_gateway::metrics::LATENCY_BUCKETS;
use partita_model::partition::{GroupId, PartitionDescriptor, PartitionKind};
use partita_model::request::Refusal;
use partita_model::schema::TableId;
use partita_replication::{Group, Store};
use partita_transport::{Operation, Reason, Reply};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, Registry};

use super::service::table_of;
use crate::admin::exposition::family;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One item.
    Get,
    /// One write.
    Write,
    /// One page.
    Page {
        /// At the price of a strong read.
        consistent: bool,
    },
    /// A delivery, or an order of the control plane.
    Command,
    /// How far a delivery is.
    Position,
    /// Counts.
    Stats,
    /// Descriptors.
    Describe,
    /// Who leads.
    Leader,
    /// About units.
    Units,
}

/// Labels of [`Kind`], by its place.
const KINDS: [&str; 9] = [
    "get", "write", "page", "command", "position", "stats", "describe", "leader", "units",
];

/// Labels of results, by their place.
const RESULTS: [&str; 11] = [
    "ok",
    "api_error",
    "stale_schema",
    "wrong_range",
    "not_leader",
    "out_of_space",
    "unknown_fate",
    "stopping",
    "corrupt",
    "throttled",
    "other",
];

impl Kind {
    /// Of an operation.
    pub fn of(operation: &Operation) -> Self {
        match operation {
            Operation::Get(_) => Self::Get,
            Operation::Write(_) => Self::Write,
            Operation::Page(request) | Operation::Further(request, _) => Self::Page {
                consistent: request.consistent,
            },
            Operation::Command(_) => Self::Command,
            Operation::Position(_) => Self::Position,
            Operation::Stats => Self::Stats,
            Operation::Describe(_) => Self::Describe,
            Operation::Leader => Self::Leader,
            Operation::Units(..) => Self::Units,
        }
    }

    fn place(self) -> usize {
        match self {
            Self::Get => 0,
            Self::Write => 1,
            Self::Page { .. } => 2,
            Self::Command => 3,
            Self::Position => 4,
            Self::Stats => 5,
            Self::Describe => 6,
            Self::Leader => 7,
            Self::Units => 8,
        }
    }
}

fn result_place(reply: &Reply) -> usize {
    let refusal = match reply {
        Ok(_) => return 0,
        Err(refused) => match &refused.reason {
            Reason::Refusal(refusal) => refusal,
            Reason::UnknownGroup | Reason::Unreadable(_) | Reason::TooLong(_) => return 10,
        },
    };
    match refusal {
        Refusal::Api(_) | Refusal::Evaluated { .. } => 1,
        Refusal::StaleSchema => 2,
        Refusal::WrongRange => 3,
        Refusal::NotLeader => 4,
        Refusal::OutOfSpace => 5,
        Refusal::UnknownFate => 6,
        Refusal::Stopping => 7,
        Refusal::Corrupt(_) => 8,
        Refusal::Throttled(_) => 9,
    }
}

/// Counters of one partition.
#[derive(Default)]
struct Counters {
    requests: [[AtomicU64; RESULTS.len()]; KINDS.len()],
}

/// Everything that is counted of requests.
pub struct Usage {
    groups: RwLock<HashMap<GroupId, Arc<Counters>>>,
    latency: Vec<Histogram>,
    unknown_groups: IntCounter,
    panics: IntCounter,
}

impl Usage {
    /// Registers what has no labels by partition.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let latency = HistogramVec::new(
            HistogramOpts::new(
                "partita_replica_request_duration_seconds",
                "Time in seconds from a decoded request of a router or another replica to its answer, by operation",
            )
            .buckets(LATENCY_BUCKETS.to_vec()),
            &["operation"],
        )?;
        registry.register(Box::new(latency.clone()))?;
        let counter = |name, help| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            prometheus::Result::Ok(counter)
        };
        Ok(Self {
            groups: RwLock::default(),
            latency: KINDS.iter().map(|kind| latency.with_label_values(&[kind])).collect(),
            unknown_groups: counter(
                "partita_unknown_group_requests_total",
                "Requests for groups that are not in this store: routes that were out of date",
            )?,
            panics: counter("partita_panics_total", "Operations that panicked: each one is a bug")?,
        })
    }

    /// An operation panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts an answer. Groups that are not here are counted together: callers can name any number of them.
    pub fn note(&self, store: &Store, group: GroupId, kind: Kind, reply: &Reply, took: Duration) {
        self.latency[kind.place()].observe(took.as_secs_f64());
        if matches!(kind, Kind::Describe | Kind::Leader | Kind::Units) {
            return;
        }
        let Some(counters) = self.counters(store, group) else {
            self.unknown_groups.inc();
            return;
        };
        counters.requests[kind.place()][result_place(reply)].fetch_add(1, Ordering::Relaxed);
    }

    /// Requests to a partition since the process started.
    pub fn requests(&self, group: GroupId) -> u64 {
        let counted = self.groups.read().get(&group).cloned();
        let requests = counted.iter().flat_map(|counted| counted.requests.iter().flatten());
        requests.map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn counters(&self, store: &Store, group: GroupId) -> Option<Arc<Counters>> {
        if let Some(counters) = self.groups.read().get(&group) {
            return Some(Arc::clone(counters));
        }
        store.group(group)?;
        Some(Arc::clone(self.groups.write().entry(group).or_default()))
    }

    /// Appends what is counted by partition, and what the partitions hold. Partitions that are gone are forgotten.
    pub fn expose(&self, text: &mut String, store: &Store, name: &dyn Fn(TableId) -> Option<String>) {
        let groups = store.groups();
        let counted = {
            let mut counted = self.groups.write();
            counted.retain(|id, _| groups.iter().any(|group| group.id() == *id));
            counted.clone()
        };
        let mut series = Series::default();
        for group in &groups {
            series.add(group, counted.get(&group.id()), &names(&groups, name));
        }
        series.write(text);
    }
}

/// A table's name: from a partition of it in this store, or as `elsewhere` knows it, or its id.
fn names<'a>(
    groups: &'a [Arc<Group>],
    elsewhere: &'a dyn Fn(TableId) -> Option<String>,
) -> impl Fn(TableId) -> String + 'a {
    move |table| {
        let here = groups.iter().find_map(|group| {
            let descriptor = group.descriptor();
            let schema = descriptor.schema().filter(|schema| schema.id == table);
            schema.map(|schema| schema.name.clone())
        });
        here.or_else(|| elsewhere(table))
            .unwrap_or_else(|| format!("{:016x}", table.0))
    }
}

/// One line for each partition (and result, and index).
#[derive(Default)]
struct Series {
    items: Vec<(String, u64)>,
    bytes: Vec<(String, u64)>,
    requests: Vec<(String, u64)>,
    leads: Vec<(String, u64)>,
    terms: Vec<(String, u64)>,
    behind: Vec<(String, u64)>,
    receiving: Vec<(String, u64)>,
}

impl Series {
    fn add(&mut self, group: &Group, counted: Option<&Arc<Counters>>, name: &dyn Fn(TableId) -> String) {
        let descriptor = group.descriptor();
        let table = name(table_of(&descriptor));
        let labels = |index: &str| {
            let partition = descriptor.group.0;
            format!("table=\"{table}\",index=\"{index}\",partition=\"{partition:016x}\"")
        };
        let own = labels(index_of(&descriptor));
        let stats = group.stats();
        self.items.push((own.clone(), stats.counters.items));
        self.bytes.push((own.clone(), stats.counters.bytes));
        self.leads.push((own.clone(), u64::from(stats.serving > 0)));
        self.terms.push((own.clone(), stats.term));
        self.receiving.push((own.clone(), u64::from(group.is_receiving())));
        for other in stats.progress.iter().filter(|other| other.replica != stats.replica) {
            let labels = format!("{own},replica=\"{}\"", other.replica);
            self.behind
                .push((labels, stats.committed.saturating_sub(other.matched)));
        }
        let Some(counted) = counted else { return };
        for (kind, results) in KINDS.iter().zip(&counted.requests) {
            for (result, count) in RESULTS.iter().zip(results) {
                let count = count.load(Ordering::Relaxed);
                if count > 0 {
                    let labels = format!("{own},operation=\"{kind}\",result=\"{result}\"");
                    self.requests.push((labels, count));
                }
            }
        }
    }

    fn write(&self, text: &mut String) {
        family(
            text,
            "partita_partition_items",
            "gauge",
            "Items of a table's partition, rows of an index's",
            &self.items,
        );
        family(
            text,
            "partita_partition_bytes",
            "gauge",
            "Bytes of a partition's items or rows, by DynamoDB's rules of sizes",
            &self.bytes,
        );
        family(
            text,
            "partita_partition_leads",
            "gauge",
            "1 where the replica that leads the partition (and serves) is",
            &self.leads,
        );
        family(
            text,
            "partita_partition_term",
            "gauge",
            "The term of a partition's group: it goes up with each election",
            &self.terms,
        );
        family(
            text,
            "partita_replica_behind_entries",
            "gauge",
            "Committed entries of the log that another replica of the partition has not confirmed, as its leader knows",
            &self.behind,
        );
        family(
            text,
            "partita_partition_receives_snapshot",
            "gauge",
            "1 while the replica takes over a snapshot of the partition",
            &self.receiving,
        );
        family(
            text,
            "partita_partition_requests_total",
            "counter",
            "Requests to a partition, by operation and result",
            &self.requests,
        );
    }
}

/// The index's name; empty for a table's partition.
fn index_of(descriptor: &PartitionDescriptor) -> &str {
    match &descriptor.kind {
        PartitionKind::Table(_) => "",
        PartitionKind::Index { index, .. } => &index.name,
    }
}
