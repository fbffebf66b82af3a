//! Measured values of a store and of what runs beside it.

use partita_replication::stats::StoreStats;

use crate::admin::exposition::{family, histogram};

/// Appends what a store counts.
pub fn store(text: &mut String, stats: &StoreStats) {
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
    let pending = stats.compaction_pending_bytes;
    one(
        "partita_compaction_pending_bytes",
        "gauge",
        "Bytes of the state that compactions have still to rewrite, estimated",
        pending,
    );
    one(
        "partita_compactions_running",
        "gauge",
        "Flushes and compactions of the state that run",
        stats.compactions_running,
    );
    one(
        "partita_first_level_files",
        "gauge",
        "Files of the state's first level: many of them slow reads down",
        stats.first_level_files,
    );
    one(
        "partita_writes_stopped",
        "gauge",
        "1 while RocksDB holds up writes until compactions have caught up",
        u64::from(stats.writes_stopped),
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
}
