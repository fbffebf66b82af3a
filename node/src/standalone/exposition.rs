//! Measured values of store, tables and deliveries in Prometheus' text format: read when they are asked for, so that
//! nothing has to keep them up to date.
//!
//! Source of the format: "Exposition formats", Prometheus documentation.

use std::fmt::{Display, Write};
use std::sync::atomic::Ordering;

use partita_model::table::record::Record;
use partita_replication::stats::{Histogram, LATENCY_BOUNDS_US};

use super::tables::Tables;

/// Appends everything that is not in the registry.
pub fn write(text: &mut String, tables: &Tables) {
    store(text, tables);
    let records: Vec<_> = tables.catalog.all().iter().map(|table| table.record()).collect();
    let (mut items, mut bytes, mut partitions, mut lag) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for record in &records {
        let description = tables.describe(record);
        let (account, name) = (&record.account, &record.spec.name);
        let mut row = |index: &str, count: u64, size: u64, groups: usize| {
            let labels = format!("account=\"{account}\",table=\"{name}\",index=\"{index}\"");
            items.push((labels.clone(), count));
            bytes.push((labels.clone(), size));
            partitions.push((labels, groups as u64));
        };
        row("", description.items, description.bytes, record.partitions.len());
        for (index, (count, size)) in record.spec.local.iter().zip(&description.local) {
            row(&index.name, *count, *size, record.partitions.len());
        }
        for (index, state) in record.global.iter().zip(&description.global) {
            row(&index.name, state.items, state.bytes, index.partitions.len());
        }
        lag.extend(
            lag_seconds(tables, record).map(|seconds| (format!("account=\"{account}\",table=\"{name}\""), seconds)),
        );
    }
    family(
        text,
        "partita_table_items",
        "gauge",
        "Items of a table, rows of an index",
        &items,
    );
    family(
        text,
        "partita_table_bytes",
        "gauge",
        "Bytes of a table's items, of an index's rows",
        &bytes,
    );
    family(
        text,
        "partita_table_partitions",
        "gauge",
        "Partitions of a table or an index",
        &partitions,
    );
    family(
        text,
        "partita_index_lag_seconds",
        "gauge",
        "How far global indexes are behind their table",
        &lag,
    );
}

/// How far the slowest delivery of a table is behind.
fn lag_seconds(tables: &Tables, record: &Record) -> Option<f64> {
    let groups = record
        .partitions
        .iter()
        .filter_map(|partition| tables.store.group(partition.group));
    let lags = groups.filter_map(|group| tables.workers.lag_ms(&group));
    lags.max().map(|ms| ms as f64 / 1000.0)
}

fn store(text: &mut String, tables: &Tables) {
    let stats = tables.store.stats();
    let mut one = |name: &str, kind: &str, help: &str, value: u64| {
        family(text, name, kind, help, &[(String::new(), value)]);
    };
    one(
        "partita_log_bytes_total",
        "counter",
        "Bytes written to the log",
        stats.log_bytes,
    );
    one(
        "partita_log_entries_total",
        "counter",
        "Entries written to the log",
        stats.log_entries,
    );
    one(
        "partita_log_effects_total",
        "counter",
        "Writes in those entries",
        stats.log_effects,
    );
    one(
        "partita_log_held_bytes",
        "gauge",
        "Bytes of entries that the log still holds",
        stats.log_held_bytes,
    );
    one("partita_groups", "gauge", "Replication groups that serve", stats.groups);
    one(
        "partita_volume_free_bytes",
        "gauge",
        "Free space of the data folder's volume",
        stats.free_bytes,
    );
    let out = u64::from(stats.out_of_space);
    one(
        "partita_out_of_space",
        "gauge",
        "1 while writes are refused for lack of space",
        out,
    );
    one(
        "partita_state_bytes",
        "gauge",
        "Size of the state's files",
        stats.state_bytes,
    );
    one(
        "partita_memtable_bytes",
        "gauge",
        "Memory of the state's memtables",
        stats.memtable_bytes,
    );
    one(
        "partita_block_cache_bytes",
        "gauge",
        "Use of the block cache",
        stats.block_cache_bytes,
    );
    let readers = stats.table_reader_bytes;
    one(
        "partita_table_reader_bytes",
        "gauge",
        "Memory of index and filter blocks of open files",
        readers,
    );
    let expired = tables.expired_items.load(Ordering::Relaxed);
    one(
        "partita_expired_items_total",
        "counter",
        "Items removed because their time to live had run out",
        expired,
    );
    histogram(
        text,
        "partita_log_sync_seconds",
        "Writes and syncs of the log",
        &stats.log_sync,
    );
    histogram(
        text,
        "partita_apply_seconds",
        "Applies of committed batches",
        &stats.apply,
    );
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    family(
        text,
        "partita_build_info",
        "gauge",
        "The version of this process",
        &[(version, 1)],
    );
}

/// One metric: its head, and a line for each set of labels.
fn family<V: Display>(text: &mut String, name: &str, kind: &str, help: &str, rows: &[(String, V)]) {
    head(text, name, kind, help);
    for (labels, value) in rows {
        // Writing to a string does not fail.
        let _ = match labels.as_str() {
            "" => writeln!(text, "{name} {value}"),
            labels => writeln!(text, "{name}{{{labels}}} {value}"),
        };
    }
}

fn histogram(text: &mut String, name: &str, help: &str, histogram: &Histogram) {
    head(text, name, "histogram", help);
    let mut below = 0;
    for (bound_us, count) in LATENCY_BOUNDS_US.iter().zip(&histogram.buckets) {
        below += count;
        let _ = writeln!(text, "{name}_bucket{{le=\"{}\"}} {below}", *bound_us as f64 / 1e6);
    }
    let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {}", histogram.count);
    let _ = writeln!(text, "{name}_sum {}", histogram.sum_us as f64 / 1e6);
    let _ = writeln!(text, "{name}_count {}", histogram.count);
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}
