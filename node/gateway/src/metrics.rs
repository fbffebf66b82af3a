//! What the gateway counts, in Prometheus terms. Every label has a bounded set of values.
//!
//! The handles of the hot path are looked up once: operations by their place in the table, tables by id.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use partita_model::capacity::{HalfUnits, ThrottleLimit, UnitKind};
use partita_model::error::{ApiError, ErrorCode};
use partita_model::schema::{TableId, TableSchema};
use prometheus::core::{AtomicF64, Collector, GenericCounter, GenericCounterVec};
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::api::Operation;
use crate::backend::Account;

/// Upper bounds of the latency histogram, in seconds: from a cached read to a stuck write.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Room for each operation's result codes: `OK` and every [`ErrorCode`].
const CODES_MAX: usize = 32;
/// The label of requests that name no operation of ours.
const NO_OPERATION: &str = "unknown";
/// Labels of what is counted by table. Two accounts may have tables of one name; where an account is no namespace, that
/// label is empty, which is the same to Prometheus as none.
const TABLE_LABELS: [&str; 3] = ["namespace", "account", "table"];

/// Counters and histograms of one gateway.
pub struct Metrics {
    requests: IntCounterVec,
    /// Handles of `requests` by operation and code, made when first used.
    results: Vec<OnceLock<IntCounter>>,
    latency: Vec<Histogram>,
    bytes_in: IntCounter,
    bytes_out: IntCounter,
    running: IntGauge,
    connections: IntGauge,
    throttles: IntCounterVec,
    user_errors: IntCounter,
    system_errors: IntCounter,
    panics: IntCounter,
    read_units: GenericCounterVec<AtomicF64>,
    write_units: GenericCounterVec<AtomicF64>,
    returned_items: IntCounterVec,
    failed_conditions: IntCounterVec,
    tables: RwLock<HashMap<TableId, Arc<TableCounters>>>,
}

/// One table's handles.
struct TableCounters {
    /// The values of [`TABLE_LABELS`].
    labels: [String; TABLE_LABELS.len()],
    read: GenericCounter<AtomicF64>,
    write: GenericCounter<AtomicF64>,
    returned_items: IntCounter,
    failed_conditions: IntCounter,
}

/// Something that is there as long as this value: a connection, a request.
pub struct Present(IntGauge);

impl Present {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Present {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Throttled requests, each reason with a series from the beginning on.
fn throttles(registry: &Registry) -> prometheus::Result<IntCounterVec> {
    let opts = Opts::new(
        "partita_throttled_requests_total",
        "Requests refused for lack of capacity, by the reason in their ThrottlingReasons",
    );
    let throttles = registered(registry, IntCounterVec::new(opts, &["reason"])?)?;
    for limit in ThrottleLimit::REACHED {
        for kind in [UnitKind::Read, UnitKind::Write] {
            for of_index in [false, true] {
                throttles.with_label_values(&[limit.reason(kind, of_index)]);
            }
        }
    }
    Ok(throttles)
}

impl Metrics {
    /// Registers everything the gateway counts.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let latency = registered(
            registry,
            HistogramVec::new(
                HistogramOpts::new(
                    "partita_request_duration_seconds",
                    "Time from a successful request's last byte to its finished answer, by operation",
                )
                .buckets(LATENCY_BUCKETS.to_vec()),
                &["operation"],
            )?,
        )?;
        let counter = |name, help| registered(registry, IntCounter::new(name, help)?);
        let gauge = |name, help| registered(registry, IntGauge::new(name, help)?);
        let units = |name, help| registered(registry, GenericCounterVec::new(Opts::new(name, help), &TABLE_LABELS)?);
        let by_table = |name, help| registered(registry, IntCounterVec::new(Opts::new(name, help), &TABLE_LABELS)?);
        Ok(Self {
            requests: registered(
                registry,
                IntCounterVec::new(
                    Opts::new("partita_requests_total", "Requests, by operation and result code"),
                    &["operation", "code"],
                )?,
            )?,
            results: (0..(Operation::ALL.len() + 1) * CODES_MAX)
                .map(|_| OnceLock::new())
                .collect(),
            latency: Operation::ALL
                .iter()
                .map(|operation| latency.with_label_values(&[operation.name()]))
                .chain([latency.with_label_values(&[NO_OPERATION])])
                .collect(),
            bytes_in: counter("partita_request_bytes_total", "Bytes of request bodies, as received")?,
            bytes_out: counter("partita_response_bytes_total", "Bytes of answers, before compression")?,
            running: gauge("partita_requests_running", "Requests being worked on")?,
            connections: gauge("partita_connections", "Open client connections")?,
            throttles: throttles(registry)?,
            user_errors: counter(
                "partita_user_errors_total",
                "Requests refused with a 4xx status, without throttles and conditions that did not hold",
            )?,
            system_errors: counter("partita_system_errors_total", "Requests answered with a 5xx status")?,
            panics: counter("partita_panics_total", "Operations that panicked: each one is a bug")?,
            read_units: units(
                "partita_consumed_read_units_total",
                "Read capacity units used, by table (with its indexes)",
            )?,
            write_units: units(
                "partita_consumed_write_units_total",
                "Write capacity units used, by table (with its indexes)",
            )?,
            returned_items: by_table(
                "partita_returned_items_total",
                "Items that Query and Scan have returned, by table",
            )?,
            failed_conditions: by_table(
                "partita_conditional_check_failures_total",
                "Writes whose condition did not hold, by table",
            )?,
            tables: RwLock::new(HashMap::new()),
        })
    }

    /// Counts a connection while the result lives.
    pub fn connection(&self) -> Present {
        Present::new(&self.connections)
    }

    /// Counts a request that has arrived, as running while the result lives.
    pub fn request(&self, bytes: usize) -> Present {
        self.bytes_in.inc_by(bytes as u64);
        Present::new(&self.running)
    }

    /// Counts an answer. No operation: the request named none of ours; no error: it succeeded.
    pub fn answered(&self, operation: Option<Operation>, error: Option<&ApiError>, took: Duration, bytes: usize) {
        let code = error.map(|error| error.code);
        let place = operation.map_or(Operation::ALL.len(), |operation| operation as usize);
        self.bytes_out.inc_by(bytes as u64);
        if code.is_none() {
            self.latency[place].observe(took.as_secs_f64());
        }
        let code_place = code.map_or(0, |code| 1 + code as usize);
        self.results[place * CODES_MAX + code_place]
            .get_or_init(|| {
                let operation = operation.map_or(NO_OPERATION, Operation::name);
                self.requests.with_label_values(&[operation, code_name(code)])
            })
            .inc();
        if let Some(error) = error {
            self.count_error(error);
        }
    }

    fn count_error(&self, error: &ApiError) {
        match error.code {
            ErrorCode::ProvisionedThroughputExceeded | ErrorCode::Throttling | ErrorCode::RequestLimitExceeded => {
                let reason = error.throttled.as_ref().map(|throttled| throttled.reason());
                self.throttles.with_label_values(&[reason.unwrap_or_default()]).inc();
            }
            other if other.http_status() >= 500 => self.system_errors.inc(),
            // The table's own counter has them.
            ErrorCode::ConditionalCheckFailed => {}
            _ => self.user_errors.inc(),
        }
    }

    /// Counts an operation that panicked.
    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// Counts the units of one request.
    pub fn count_units(&self, account: &Account, table: &TableSchema, read: HalfUnits, write: HalfUnits) {
        self.table(account, table).count(read, write);
    }

    /// Counts the items that a Query or Scan returns.
    pub fn count_returned(&self, account: &Account, table: &TableSchema, items: u64) {
        self.table(account, table).returned_items.inc_by(items);
    }

    /// Counts a write whose condition did not hold.
    pub fn count_failed_condition(&self, account: &Account, table: &TableSchema) {
        self.table(account, table).failed_conditions.inc();
    }

    fn table(&self, account: &Account, table: &TableSchema) -> Arc<TableCounters> {
        if let Some(counters) = self.tables.read().get(&table.id) {
            return Arc::clone(counters);
        }
        self.new_table(account, table)
    }

    /// Forgets a table that is gone, so that the labels stay bounded by the tables there are.
    pub fn forget_table(&self, id: TableId) {
        let Some(units) = self.tables.write().remove(&id) else {
            return;
        };
        let labels = units.label_values();
        // Gone already: not an error.
        let _ = self.read_units.remove_label_values(&labels);
        let _ = self.write_units.remove_label_values(&labels);
        let _ = self.returned_items.remove_label_values(&labels);
        let _ = self.failed_conditions.remove_label_values(&labels);
    }

    fn new_table(&self, account: &Account, table: &TableSchema) -> Arc<TableCounters> {
        let namespace = account.namespace.as_deref().unwrap_or_default();
        let values = [namespace, &account.id, &table.name];
        let units = Arc::new(TableCounters {
            labels: values.map(str::to_owned),
            read: self.read_units.with_label_values(&values),
            write: self.write_units.with_label_values(&values),
            returned_items: self.returned_items.with_label_values(&values),
            failed_conditions: self.failed_conditions.with_label_values(&values),
        });
        self.tables.write().insert(table.id, units.clone());
        units
    }
}

impl TableCounters {
    fn label_values(&self) -> [&str; TABLE_LABELS.len()] {
        self.labels.each_ref().map(String::as_str)
    }

    fn count(&self, read: HalfUnits, write: HalfUnits) {
        if read.0 > 0 {
            self.read.inc_by(read.units());
        }
        if write.0 > 0 {
            self.write.inc_by(write.units());
        }
    }
}

fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

/// `OK`, or the error's type without its namespace.
fn code_name(code: Option<ErrorCode>) -> &'static str {
    let Some(code) = code else { return "OK" };
    let name = code.wire_type();
    name.split_once('#').map_or(name, |(_, name)| name)
}
