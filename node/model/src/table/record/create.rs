//! A new table's record.

use super::{
    Circumstances, Dates, FORMAT, IndexPhase, IndexRecord, Owner, PartitionLimits, Record, UnitsDates, derived,
    partitions,
};
use crate::schema::{IndexId, SchemaVersion, TableId};
use crate::table::{BillingMode, GlobalIndexSpec, Status, TableSpec, TimeToLiveStatus};

impl Record {
    /// The record of a table that nobody has begun to make. Everything in it follows from the arguments.
    pub fn create(account: &str, spec: TableSpec, owner: Owner, id: TableId, at: Circumstances) -> Self {
        let mut next_index = 0;
        let mut number = || {
            next_index += 1;
            IndexId(next_index)
        };
        let local = spec.local.iter().map(|_| number()).collect();
        let global = spec
            .global
            .iter()
            .map(|index| new_index(id, index, number(), spec.billing, IndexPhase::Ready, at))
            .collect();
        let mut record = Self {
            format: FORMAT,
            account: account.to_owned(),
            id,
            seed: derived(id, "seed", 0),
            owner,
            status: Status::Creating,
            updating: false,
            schema_version: SchemaVersion(1),
            next_index: next_index + 1,
            local,
            partitions: Vec::new(),
            global,
            time_to_live: match spec.time_to_live {
                Some(_) => TimeToLiveStatus::Enabled,
                None => TimeToLiveStatus::Disabled,
            },
            dates: Dates {
                created_ms: at.now_ms,
                on_demand_since_ms: (spec.billing == BillingMode::PayPerRequest).then_some(at.now_ms),
                class_since_ms: None,
                units: UnitsDates::default(),
            },
            stream_label: spec.stream.map(|_| stream_label(at.now_ms)),
            spec,
        };
        record.lay_out(at.partitions);
        record
    }

    /// Gives the table and those of its indexes that have no partitions yet (in this record) their first ones.
    pub fn lay_out(&mut self, limits: PartitionLimits) {
        if self.partitions.is_empty() {
            let count = limits.count(self.spec.billing, self.spec.throughput, self.spec.warm);
            self.partitions = partitions::even(self.id, count);
        }
        for (index, spec) in self.global.iter_mut().zip(&self.spec.global) {
            if index.partitions.is_empty() {
                let count = limits.count(self.spec.billing, spec.throughput, spec.warm);
                index.partitions = partitions::even(index.table, count);
            }
        }
    }
}

/// The record of a new global index.
pub(super) fn new_index(
    table: TableId,
    spec: &GlobalIndexSpec,
    id: IndexId,
    billing: BillingMode,
    phase: IndexPhase,
    at: Circumstances,
) -> IndexRecord {
    let own = TableId(derived(table, "index", u64::from(id.0)));
    let count = at.partitions.count(billing, spec.throughput, spec.warm);
    IndexRecord {
        name: spec.name.clone(),
        id,
        table: own,
        seed: derived(own, "seed", 0),
        phase,
        partitions: partitions::even(own, count),
        units: UnitsDates::default(),
    }
}

/// The label of a stream that begins now: an ISO time, as in `2015-05-20T23:58:03.212`.
pub(super) fn stream_label(now_ms: u64) -> String {
    let (days, ms) = (now_ms / 86_400_000, now_ms % 86_400_000);
    let (year, month, day) = civil_date(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}",
        ms % 1000
    )
}

/// Year, month and day of a day counted from 1970-01-01, by the algorithm `civil_from_days` of Howard Hinnant's "chrono-
/// Compatible Low-Level Date Algorithms".
fn civil_date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_iso_times() {
        assert_eq!(stream_label(0), "1970-01-01T00:00:00.000");
        assert_eq!(stream_label(1_432_166_283_212), "2015-05-20T23:58:03.212");
        assert_eq!(stream_label(1_709_164_800_000), "2024-02-29T00:00:00.000");
    }
}
