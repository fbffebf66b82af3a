//! What stores say to each other about the units of tables whose partitions they share. Nothing is sent from here: who does
//! that asks what there is to say ([`Admission::reports`], [`Admission::news`]), and brings what was answered.
//!
//! The rules are in [`partita_admission::pool`]: whoever leads a table's first partition grants, all others report.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use partita_admission::share::{Grant, Report};
use partita_admission::table::Levels;
use partita_model::capacity::{UnitsAnswer, UnitsCall, UnitsGrant, UnitsLevel, UnitsReport};
use partita_model::request::Refusal;
use partita_model::schema::TableId;
use tokio::sync::Notify;

use super::Admission;
use super::table::Table;
use super::units::Units;

/// Whether something was used or refused since it was last looked what there is to say.
#[derive(Debug, Default)]
pub struct Unsaid {
    changed: AtomicBool,
    wake: Notify,
}

impl Unsaid {
    /// Something was.
    pub fn note(&self) {
        if !self.changed.load(Ordering::Relaxed) && !self.changed.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}

/// Reports of one table, made at a time.
#[derive(Debug, Clone)]
pub struct Reports {
    /// The table.
    pub table: TableId,
    /// Of each kind of units that was used here.
    pub reports: Vec<UnitsReport>,
    at_ms: u64,
}

impl Admission {
    /// Returns when something was used or refused since the last time.
    pub async fn used(&self) {
        while !self.unsaid.changed.swap(false, Ordering::Relaxed) {
            self.unsaid.wake.notified().await;
        }
    }

    /// Whether there will be news although nothing is used.
    pub fn is_filling(&self) -> bool {
        let tables = self.tables();
        let mut units = tables.iter().flat_map(|table| table.units());
        units.any(|(_, units)| units.with(|pool| pool.is_filling()).unwrap_or(false))
    }

    /// Whether any bucket here is not full.
    pub fn fills(&self) -> bool {
        let now_ms = (self.now_ms)();
        let tables = self.tables();
        let mut units = tables.iter().flat_map(|table| table.units());
        units.any(|(_, units)| units.with(|pool| pool.fills(now_ms)).unwrap_or(false))
    }

    /// What there is to report of tables whose units others grant.
    pub fn reports(&self) -> Vec<Reports> {
        let now_ms = (self.now_ms)();
        let of = |table: &Arc<Table>| {
            let one = |report: Report, units| UnitsReport {
                units,
                used: report.used,
                wanted: report.wanted,
                number: report.number,
            };
            let reports = table.units().filter_map(|(id, units)| {
                let report = units.with(|pool| pool.report(now_ms))??;
                Some(one(report, id))
            });
            Reports {
                table: table.id,
                reports: reports.collect(),
                at_ms: now_ms,
            }
        };
        let mut all: Vec<Reports> = self.tables().iter().map(of).collect();
        all.retain(|table| !table.reports.is_empty());
        all
    }

    /// Tables of which it has to be asked what they are ready for, to say which limit a request has met.
    pub fn unsure(&self) -> Vec<TableId> {
        let now_ms = (self.now_ms)();
        let mut tables = self.tables();
        tables.retain(|table| {
            let unsure = |(_, units): (_, &Units)| units.with(|pool| pool.is_unsure(now_ms)).unwrap_or(false);
            table.units().map(unsure).fold(false, |any, one| any | one)
        });
        tables.iter().map(|table| table.id).collect()
    }

    /// What whoever grants has said of that.
    pub fn learn(&self, table: TableId, known: Vec<UnitsLevel>) {
        let now_ms = (self.now_ms)();
        let Some(table) = self.table(table) else { return };
        for level in known {
            if let Some(units) = table.units_of(level.units) {
                let levels = Levels::of(level, now_ms);
                units.with(|pool| pool.learn(&levels));
            }
        }
    }

    /// As a call to whoever grants.
    pub fn call(&self, reports: &Reports) -> UnitsCall {
        UnitsCall::Report {
            holder: self.holder,
            reports: reports.reports.clone(),
        }
    }

    /// Reports were answered.
    pub fn granted(&self, reports: &Reports, grants: &[UnitsGrant]) {
        let Some(table) = self.table(reports.table) else { return };
        for report in &reports.reports {
            let grant = grants.iter().find(|grant| grant.units == report.units);
            let (Some(grant), Some(units)) = (grant, table.units_of(report.units)) else {
                continue;
            };
            let report = Report {
                used: report.used,
                wanted: report.wanted,
                number: report.number,
            };
            units.with(|pool| pool.granted(report, Grant(grant.granted), reports.at_ms));
        }
    }

    /// Where the buckets of tables stand whose units are granted here, as far as others have not heard it.
    pub fn news(&self) -> Vec<(TableId, Vec<UnitsLevel>)> {
        let now_ms = (self.now_ms)();
        let of = |table: &Arc<Table>| {
            let levels = table.units().filter_map(|(id, units)| {
                let (term, levels) = units.with(|pool| pool.news(now_ms))??;
                Some(levels.told(id, term))
            });
            (table.id, levels.collect())
        };
        let mut all: Vec<(TableId, Vec<UnitsLevel>)> = self.tables().iter().map(of).collect();
        all.retain(|(_, levels)| !levels.is_empty());
        all
    }

    /// Not all have heard those.
    pub fn unheard(&self, table: TableId, levels: &[UnitsLevel]) {
        let Some(table) = self.table(table) else { return };
        for level in levels {
            if let Some(units) = table.units_of(level.units) {
                units.with(|pool| pool.unheard());
            }
        }
        self.unsaid.note();
    }

    /// What others know of the time before this store led the table's first partition. Of several, who has heard of the latest
    /// term is right; of the same term, who has heard of less.
    pub fn resume(&self, table: TableId, mut known: Vec<UnitsLevel>) {
        let now_ms = (self.now_ms)();
        let Some(table) = self.table(table) else { return };
        known.sort_by_key(|level| (std::cmp::Reverse(level.term), level.level));
        for level in known {
            let term = level.term;
            if let Some(units) = table.units_of(level.units) {
                units.with(|pool| pool.resume(term, Levels::of(level, now_ms), now_ms));
            }
        }
    }

    /// Answers another store.
    pub fn answer(&self, table: TableId, call: UnitsCall) -> Result<UnitsAnswer, Refusal> {
        let now_ms = (self.now_ms)();
        // A store that does not know the table yet is none that could grant.
        let table = self.table(table).ok_or(Refusal::NotLeader)?;
        Ok(match call {
            UnitsCall::Report { holder, reports } => {
                let mut grants = Vec::with_capacity(reports.len());
                for report in reports {
                    // An index that is not known here (any more) has no units.
                    let Some(units) = table.units_of(report.units) else {
                        continue;
                    };
                    let said = Report {
                        used: report.used,
                        wanted: report.wanted,
                        number: report.number,
                    };
                    let grant = units.with(|pool| pool.grant(holder, said, now_ms)).flatten();
                    grants.push(UnitsGrant {
                        units: report.units,
                        granted: grant.ok_or(Refusal::NotLeader)?.0,
                    });
                }
                self.kept.note_change();
                self.unsaid.note();
                UnitsAnswer::Grants(grants)
            }
            UnitsCall::Levels(levels) => {
                for level in levels {
                    let term = level.term;
                    if let Some(units) = table.units_of(level.units) {
                        units.with(|pool| pool.hear(term, Levels::of(level, now_ms)));
                    }
                }
                UnitsAnswer::Heard
            }
            UnitsCall::Ask => UnitsAnswer::Levels(
                table
                    .units()
                    .filter_map(|(id, units)| {
                        let (term, levels) = units.with(|pool| pool.state(now_ms))??;
                        Some(levels.told(id, term))
                    })
                    .collect(),
            ),
        })
    }

    fn tables(&self) -> Vec<Arc<Table>> {
        self.known.lock().tables.values().cloned().collect()
    }

    fn table(&self, id: TableId) -> Option<Arc<Table>> {
        self.known.lock().tables.get(&id).cloned()
    }
}
