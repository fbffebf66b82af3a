//! The control plane: from what a table's record intends to what is there.
//!
//! A record is written before anything is done about it. [`advance`] takes the next [`Step`] that is still to be done until
//! none is left; every step can be repeated, so a process that was killed between (or within) steps goes on here at its
//! next start.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use partita_model::partition::PartitionDescriptor;
use partita_model::request::Refusal;
use partita_model::table::TimeToLiveStatus;
use partita_model::table::record::{IndexPhase, IndexRecord, PartitionRecord, Record, Step};
use partita_partition::command::{Command, IndexBatch};
use partita_replication::Group;

use super::super::catalog::Table;
use super::Tables;
use crate::routing::{Ranges, TableRoute};
use crate::serving::admission::Admitted;
use crate::serving::delivery;
use crate::serving::walk::{Purpose, Walk};

/// How long a step that was refused (a full disk, say) waits before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Carries out everything that a table's record intends. Ends early only when the process stops.
pub async fn advance(tables: Arc<Tables>, table: Arc<Table>) {
    let _steps = table.steps.lock().await;
    let name = table.record().spec.name.clone();
    while let Some(step) = Step::next(&table.record()) {
        match take(&tables, &table, &step).await {
            Ok(()) => tracing::info!(table = name, ?step, "done"),
            Err(Refusal::Stopping) => return,
            Err(refusal) => {
                tracing::warn!(table = name, ?step, %refusal, "will be tried again");
                tokio::time::sleep(RETRY).await;
            }
        }
        if step == Step::Delete && tables.catalog.table(&table.record().account, &name).is_none() {
            return;
        }
    }
}

async fn take(tables: &Arc<Tables>, table: &Table, step: &Step) -> Result<(), Refusal> {
    let record = table.record();
    match step {
        Step::Create => create(tables, table, &record).await,
        Step::Apply => apply(tables, table, &record).await,
        Step::RemoveIndex(name) => remove_index(tables, table, &record, name).await,
        Step::BuildIndex(name) => build_index(tables, table, &record, name).await,
        Step::SwitchTimeToLive => switch_time_to_live(tables, table, &record).await,
        Step::Delete => delete(tables, table, &record).await,
    }
}

/// Puts a table that is there on the map: at the start of the process, and whenever its units or indexes change. Indexes whose
/// groups are still to be made (or are being removed) are left out.
pub fn publish(tables: &Arc<Tables>, record: &Record) -> Result<(), Refusal> {
    let items = ranges(tables, &record.partitions).ok_or_else(|| missing(record))?;
    let wanted = record.global.iter().filter(|index| index.phase != IndexPhase::Removing);
    let indexes = wanted
        .filter_map(|index| Some((index.id, ranges(tables, &index.partitions)?)))
        .collect();
    tables.admission.declare(record, &|_| Some(1));
    tables.directory.set(record.id, TableRoute { table: items, indexes });
    tables.catalog.serve(&record.account, record.schema());
    Ok(())
}

fn missing(record: &Record) -> Refusal {
    Refusal::Corrupt(format!(
        "the data folder lacks partitions of table {}",
        record.spec.name
    ))
}

/// Leaders of these partitions; `None` while one is not there.
fn ranges(tables: &Tables, partitions: &[PartitionRecord]) -> Option<Ranges<Admitted>> {
    let leaders = partitions.iter().map(|partition| {
        let admitted = Admitted {
            group: tables.store.group(partition.group)?,
            admission: Arc::clone(&tables.admission),
        };
        Some((partition.start.clone(), admitted))
    });
    Ranges::new(leaders.collect::<Option<Vec<_>>>()?)
}

async fn create(tables: &Arc<Tables>, table: &Table, record: &Record) -> Result<(), Refusal> {
    for index in &record.global {
        bootstrap(tables, record.index_descriptors(index)).await?;
    }
    bootstrap(tables, record.table_descriptors()).await?;
    publish(tables, record)?;
    change(tables, table, Record::created)
}

async fn apply(tables: &Arc<Tables>, table: &Table, record: &Record) -> Result<(), Refusal> {
    publish(tables, record)?;
    set_schema(tables, record).await?;
    change(tables, table, Record::applied)
}

/// Tells every partition the schema, unless it knows. The gateway has it already: a leader takes requests that were
/// validated with a newer schema than its own, and refuses those validated with an older one.
async fn set_schema(tables: &Arc<Tables>, record: &Record) -> Result<(), Refusal> {
    let schema = Arc::new(record.schema());
    let groups = groups(tables, record)?;
    let older = groups.iter().filter(|group| {
        let descriptor = group.descriptor();
        descriptor.schema().is_none_or(|known| known.version < schema.version)
    });
    try_join_all(older.map(|group| group.command(Command::SetSchema(Arc::clone(&schema))))).await?;
    Ok(())
}

async fn remove_index(tables: &Arc<Tables>, table: &Table, record: &Record, name: &str) -> Result<(), Refusal> {
    publish(tables, record)?;
    set_schema(tables, record).await?;
    if let Some(index) = record.index(name) {
        destroy(tables, &index.partitions).await?;
    }
    change(tables, table, |record| record.index_removed(name))
}

async fn build_index(tables: &Arc<Tables>, table: &Table, record: &Record, name: &str) -> Result<(), Refusal> {
    let Some(index) = record.index(name) else { return Ok(()) };
    bootstrap(tables, record.index_descriptors(index)).await?;
    begin_delivery(tables, record, index).await?;
    publish(tables, record)?;
    set_schema(tables, record).await?;
    for group in groups(tables, record)? {
        let mut walk = Walk::new(Purpose::Backfill(index.id));
        while !walk.done() {
            if given_up(table, name) {
                return Ok(());
            }
            walk.go_on(&group, &tables.deliveries).await?;
        }
    }
    change(tables, table, |record| record.index_built(name))
}

/// Nothing of the sources' present change logs concerns a new index: its delivery begins at their present end.
async fn begin_delivery(tables: &Arc<Tables>, record: &Record, index: &IndexRecord) -> Result<(), Refusal> {
    for source in groups(tables, record)? {
        for partition in &index.partitions {
            let target = tables.store.group(partition.group).ok_or_else(|| missing(record))?;
            if target.position(source.id()).await?.is_some() {
                continue;
            }
            let batch = IndexBatch {
                source: source.id(),
                session: delivery::session(&source),
                rows: Vec::new(),
                through: source.stats().counters.clock,
            };
            target.command(Command::Deliver(batch)).await?;
        }
    }
    Ok(())
}

/// Whether an index that was to be built is not wanted any more.
fn given_up(table: &Table, name: &str) -> bool {
    let record = table.record();
    record
        .index(name)
        .is_none_or(|index| index.phase != IndexPhase::Building)
}

async fn switch_time_to_live(tables: &Arc<Tables>, table: &Table, record: &Record) -> Result<(), Refusal> {
    publish(tables, record)?;
    set_schema(tables, record).await?;
    let on = record.time_to_live == TimeToLiveStatus::Enabling;
    let purpose = if on { Purpose::IndexExpiry } else { Purpose::DropExpiry };
    for group in groups(tables, record)? {
        let mut walk = Walk::new(purpose);
        while !walk.done() {
            walk.go_on(&group, &tables.deliveries).await?;
        }
    }
    change(tables, table, |record| record.time_to_live_switched(on))
}

async fn delete(tables: &Arc<Tables>, table: &Table, record: &Record) -> Result<(), Refusal> {
    tables.catalog.withdraw(&record.account, &record.spec.name);
    tables.directory.remove(record.id);
    for index in &record.global {
        destroy(tables, &index.partitions).await?;
    }
    destroy(tables, &record.partitions).await?;
    tables.forgotten(record.id);
    Ok(tables.catalog.remove(table)?)
}

fn change(tables: &Tables, table: &Table, change: impl FnOnce(&mut Record)) -> Result<(), Refusal> {
    tables.catalog.change(table, |record| {
        change(record);
        Ok(())
    })?;
    Ok(())
}

/// The groups of a table's partitions.
fn groups(tables: &Tables, record: &Record) -> Result<Vec<Arc<Group>>, Refusal> {
    let groups = record
        .partitions
        .iter()
        .map(|partition| tables.store.group(partition.group));
    groups.collect::<Option<Vec<_>>>().ok_or_else(|| missing(record))
}

async fn bootstrap(tables: &Arc<Tables>, descriptors: Vec<PartitionDescriptor>) -> Result<(), Refusal> {
    let store = Arc::clone(&tables.store);
    blocking(move || {
        descriptors
            .into_iter()
            .try_for_each(|descriptor| store.bootstrap(descriptor).map(drop))
    })
    .await
}

async fn destroy(tables: &Arc<Tables>, partitions: &[PartitionRecord]) -> Result<(), Refusal> {
    let store = Arc::clone(&tables.store);
    let groups: Vec<_> = partitions.iter().map(|partition| partition.group).collect();
    blocking(move || groups.into_iter().try_for_each(|group| store.destroy(group))).await
}

/// Runs what waits for the disk off this thread. A panic in it ends the process, so it always answers.
async fn blocking(work: impl FnOnce() -> Result<(), Refusal> + Send + 'static) -> Result<(), Refusal> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(Refusal::Stopping))
}
