//! Measured values of tables: read when they are asked for.

use partita_model::table::record::Record;

use super::tables::Tables;
use crate::admin::exposition::family;

/// Appends everything that is not in the registry.
pub fn write(text: &mut String, tables: &Tables) {
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
    let lags = groups.filter_map(|group| tables.deliveries.lag_ms(&group));
    lags.max().map(|ms| ms as f64 / 1000.0)
}
