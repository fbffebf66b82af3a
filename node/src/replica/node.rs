//! The parts of a running replica, and what is measured of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use partita_model::partition::GroupId;

use partita_replication::{Group, Store};
use partita_tls::{Current, Mutual};
use partita_transport::{Client, Identity, Letters, Server};

use super::drain::Drain;
use super::jobs::Jobs;
use super::places::Place;
use super::usage::Usage;
use crate::admin::Measured;
use crate::admin::exposition::family;
use crate::directory::Directory;
use crate::serving;
use crate::serving::admission::Admission;
use crate::serving::delivery::Deliveries;
use crate::serving::expiry::ExpiredItems;
use crate::tls;

/// A replica that serves.
pub struct Node {
    /// The groups.
    pub store: Arc<Store>,
    /// What the operator ordered.
    pub jobs: Jobs,
    /// The units of tables.
    pub admission: Arc<Admission>,
    /// Deliveries to global indexes.
    pub deliveries: Arc<Deliveries<Place>>,
    /// Where other partitions are.
    pub directory: Arc<Directory>,
    /// Items removed because their time to live had run out.
    pub expired_items: Arc<ExpiredItems>,
    /// What is counted of requests.
    pub usage: Arc<Usage>,
    /// The answering side of the transport.
    pub server: Server,
    /// The calling side.
    pub client: Client,
    /// What others know of this process.
    pub identity: Identity,
    /// Letters to other stores.
    pub letters: Letters,
    /// Giving away what is led here.
    pub drain: Drain,
    /// The certificates of both.
    pub tls: Option<Current<Mutual>>,
    /// Replicas that have caught up since the process started.
    pub caught_up: Mutex<BTreeSet<(GroupId, u64)>>,
}

impl Measured for Node {
    fn expose(&self, text: &mut String) {
        serving::exposition::store(text, &self.store.stats());
        self.expired_items.expose(text, &self.store);
        let listing = self.directory.current();
        self.usage.expose(text, &self.store, &|table| {
            listing.table(table).map(|entry| entry.record.spec.name.clone())
        });
        self.admission.expose(text, |group| self.store.group(group).is_some());
        self.lag(text);
        self.backfills(text);
        self.transport(text);
        if let Some(tls) = &self.tls {
            tls::expose(text, &[("peers", tls.status())]);
        }
    }

    /// A replica that has caught up once stays counted on: a leader that is slow to answer is no reason to take its followers
    /// for away. A store without replicas has just been made, and is waiting for them.
    fn caught_up(&self) -> Result<(), String> {
        let groups = self.store.groups();
        let mut known = self.caught_up.lock();
        let mut here = BTreeSet::new();
        let mut behind = Vec::new();
        for group in &groups {
            let replica = (group.id(), group.stats().replica);
            // One that stands still for a merge answers nobody, and lacks nothing.
            let still = group.stats().frozen.is_some();
            match still || known.contains(&replica) || group.leadership().borrow().serving > 0 || group.is_fresh() {
                true => drop(here.insert(replica)),
                false => behind.push(format!("{:016x}", group.id().0)),
            }
        }
        *known = here;
        match (groups.is_empty(), behind.first()) {
            (true, _) => Err("there are no replicas here yet".to_owned()),
            (false, Some(first)) => Err(format!("{} replica(s) have not caught up: {first}", behind.len())),
            (false, None) => Ok(()),
        }
    }
}

impl Node {
    /// How far deliveries are behind.
    fn lag(&self, text: &mut String) {
        let mut delivering = self.store.groups();
        delivering.retain(|group| self.deliveries.lag_ms(group).is_some());
        let partition = |group: &Arc<Group>| {
            let descriptor = group.descriptor();
            let (table, partition) = (&descriptor.schema()?.name, group.id().0);
            Some(format!("table=\"{table}\",partition=\"{partition:016x}\""))
        };
        let lags = delivering.iter().filter_map(|group| {
            let seconds = self.deliveries.lag_ms(group)? as f64 / 1000.0;
            Some((partition(group)?, seconds))
        });
        family(
            text,
            "partita_index_lag_seconds",
            "gauge",
            "How far, in seconds, global indexes are behind a partition of their table",
            &lags.collect::<Vec<_>>(),
        );
        let waits = |group: &Arc<Group>| {
            Some((
                partition(group)?,
                u64::from(self.deliveries.waits(group.id()).is_some()),
            ))
        };
        let waiting: Vec<_> = delivering.iter().filter_map(waits).collect();
        family(
            text,
            "partita_index_delivery_waits",
            "gauge",
            "1 while nothing can be delivered to global indexes from a partition of their table, and the log says why",
            &waiting,
        );
    }

    /// How far copies of items into new indexes are.
    fn backfills(&self, text: &mut String) {
        let rows = self
            .jobs
            .backfills()
            .into_iter()
            .filter_map(|(group, index, walked, done)| {
                let group = self.store.group(group)?;
                let descriptor = group.descriptor();
                let schema = descriptor.schema()?;
                let (table, index) = (&schema.name, &schema.global_index(index)?.name);
                let partition = group.id().0;
                let labels = format!("table=\"{table}\",index=\"{index}\",partition=\"{partition:016x}\"");
                // Items come and go meanwhile: only the end is 100.
                let part = walked as f64 / group.stats().counters.items.max(1) as f64;
                let percent = if done { 100.0 } else { (part * 100.0).min(99.0).floor() };
                Some((labels, percent))
            });
        family(
            text,
            "partita_index_backfill_percent",
            "gauge",
            "How much of a partition has been copied into a new global index, in percent, since this process leads it",
            &rows.collect::<Vec<_>>(),
        );
    }

    fn transport(&self, text: &mut String) {
        let (server, client) = (self.server.stats(), self.client.stats());
        let away = self.directory.source_away().as_secs();
        let mut one = |name: &str, kind: &str, help: &str, value: u64| {
            family(text, name, kind, help, &[(String::new(), value)]);
        };
        one(
            "partita_transport_connections",
            "gauge",
            "Open connections of routers and other replicas",
            server.connections,
        );
        one(
            "partita_transport_refused_connections_total",
            "counter",
            "Connections that did not get through the handshake",
            server.connections_refused,
        );
        one(
            "partita_transport_running_requests",
            "gauge",
            "Requests of routers and other replicas being worked on",
            server.in_flight,
        );
        one(
            "partita_transport_received_bytes_total",
            "counter",
            "Bytes received from routers and other replicas",
            server.bytes_in,
        );
        one(
            "partita_transport_sent_bytes_total",
            "counter",
            "Bytes sent to routers and other replicas, in answers",
            server.bytes_out,
        );
        one(
            "partita_transport_failed_calls_total",
            "counter",
            "Deliveries to other replicas that were not sent or not answered; they are repeated",
            client.not_sent + client.lost,
        );
        let letters = self.letters.stats();
        one(
            "partita_letters_connections",
            "gauge",
            "Open connections to stores that share groups with this one",
            letters.connections,
        );
        one(
            "partita_letters_sent_bytes_total",
            "counter",
            "Bytes of letters to other stores",
            letters.bytes,
        );
        one(
            "partita_letters_dropped_total",
            "counter",
            "Batches of letters dropped: their store was away, or too slow; what matters is sent again",
            letters.dropped,
        );
        one(
            "partita_directory_source_away_seconds",
            "gauge",
            "For how long, in seconds, the directory's source has not answered; 0 while it does",
            away,
        );
    }
}
