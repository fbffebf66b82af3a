//! What the gateway counts, in Prometheus terms. Every label has a bounded set of values.
//!
//! The handles of the hot path are looked up once: operations by their place in the table, tables by id.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use partita_model::capacity::HalfUnits;
use partita_model::schema::{TableId, TableSchema};
use prometheus::core::{AtomicF64, GenericCounter, GenericCounterVec};
use prometheus::{Opts, Registry};

/// Counters and histograms of one gateway.
pub struct Metrics {
    read_units: GenericCounterVec<AtomicF64>,
    write_units: GenericCounterVec<AtomicF64>,
    tables: RwLock<HashMap<TableId, Arc<TableUnits>>>,
}

/// One table's handles.
struct TableUnits {
    name: String,
    read: GenericCounter<AtomicF64>,
    write: GenericCounter<AtomicF64>,
}

impl Metrics {
    /// Registers everything the gateway counts.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let read_units = GenericCounterVec::new(
            Opts::new(
                "partita_consumed_read_units_total",
                "Read capacity units used, by table (with its indexes)",
            ),
            &["table"],
        )?;
        let write_units = GenericCounterVec::new(
            Opts::new(
                "partita_consumed_write_units_total",
                "Write capacity units used, by table (with its indexes)",
            ),
            &["table"],
        )?;
        registry.register(Box::new(read_units.clone()))?;
        registry.register(Box::new(write_units.clone()))?;
        Ok(Self {
            read_units,
            write_units,
            tables: RwLock::new(HashMap::new()),
        })
    }

    /// Counts the units of one request.
    pub fn count_units(&self, table: &TableSchema, read: HalfUnits, write: HalfUnits) {
        let known = self.tables.read().get(&table.id).cloned();
        let units = known.unwrap_or_else(|| self.table_units(table));
        if read.0 > 0 {
            units.read.inc_by(read.units());
        }
        if write.0 > 0 {
            units.write.inc_by(write.units());
        }
    }

    /// Forgets a table that is gone, so that the labels stay bounded by the tables there are.
    pub fn forget_table(&self, id: TableId) {
        let Some(units) = self.tables.write().remove(&id) else {
            return;
        };
        // A counter that was never made has nothing to remove: not an error.
        let _ = self.read_units.remove_label_values(&[&units.name]);
        let _ = self.write_units.remove_label_values(&[&units.name]);
    }

    fn table_units(&self, table: &TableSchema) -> Arc<TableUnits> {
        let units = Arc::new(TableUnits {
            name: table.name.clone(),
            read: self.read_units.with_label_values(&[&table.name]),
            write: self.write_units.with_label_values(&[&table.name]),
        });
        self.tables.write().insert(table.id, units.clone());
        units
    }
}
