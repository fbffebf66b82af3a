//! A new table's record.

use partita_model::schema::{IndexId, SchemaVersion, TableId};
use partita_model::table::{BillingMode, GlobalIndexSpec, Status, TableSpec, TimeToLiveStatus};

use super::super::catalog::record::{Dates, FORMAT, IndexPhase, IndexRecord, Owner, Record, UnitsDates};
use super::partitions;

/// The record of a table that nobody has begun to make.
pub fn record(account: &str, spec: TableSpec, owner: Owner, now_ms: u64) -> Record {
    let mut next_index = 0;
    let mut number = || {
        next_index += 1;
        IndexId(next_index)
    };
    let local = spec.local.iter().map(|_| number()).collect();
    let global = spec
        .global
        .iter()
        .map(|index| new_index(index, number(), spec.billing, IndexPhase::Ready))
        .collect();
    Record {
        format: FORMAT,
        account: account.to_owned(),
        id: TableId(rand::random()),
        seed: rand::random(),
        owner,
        status: Status::Creating,
        updating: false,
        schema_version: SchemaVersion(1),
        next_index: next_index + 1,
        local,
        partitions: partitions::even(partitions::count(spec.billing, spec.throughput, spec.warm)),
        global,
        time_to_live: match spec.time_to_live {
            Some(_) => TimeToLiveStatus::Enabled,
            None => TimeToLiveStatus::Disabled,
        },
        dates: Dates {
            created_ms: now_ms,
            on_demand_since_ms: (spec.billing == BillingMode::PayPerRequest).then_some(now_ms),
            class_since_ms: None,
            units: UnitsDates::default(),
        },
        stream_label: spec.stream.map(|_| stream_label(now_ms)),
        spec,
    }
}

/// The record of a new global index.
pub fn new_index(spec: &GlobalIndexSpec, id: IndexId, billing: BillingMode, phase: IndexPhase) -> IndexRecord {
    IndexRecord {
        name: spec.name.clone(),
        id,
        table: TableId(rand::random()),
        seed: rand::random(),
        phase,
        partitions: partitions::even(partitions::count(billing, spec.throughput, spec.warm)),
        units: UnitsDates::default(),
    }
}

/// The label of a stream that begins now: an ISO time, as in `2015-05-20T23:58:03.212`.
pub fn stream_label(now_ms: u64) -> String {
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
