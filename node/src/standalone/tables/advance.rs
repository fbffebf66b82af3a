//! The control plane: from what a table's record intends to what is there.
//!
//! A record is written before anything is done about it. [`advance`] takes the next [`Step`] that is still to be done until
//! none is left; every step can be repeated, so a process that was killed between (or within) steps goes on here at its
//! next start.

use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use partita_model::key::KeyBytes;
use partita_model::partition::PartitionDescriptor;
use partita_model::request::Refusal;
use partita_model::schema::IndexId;
use partita_model::table::TimeToLiveStatus;
use partita_model::table::record::{IndexPhase, IndexRecord, PartitionRecord, Record, Step};
use partita_partition::command::{Command, CommandReply, IndexBatch};
use partita_replication::Group;

use super::super::catalog::Table;
use super::super::index_worker;
use super::Tables;
use crate::routing::{Ranges, TableRoute};

/// Items that one command copies into a new index or gives an expiry row: a command holds up the writes of its
/// partition, and this many take about a millisecond.
const WALK_ROWS_MAX: u32 = 500;
/// Bytes of items that one command copies into a new index, for the same reason.
const WALK_BYTES_MAX: u64 = 1 << 20;
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

/// Puts a table that is there on the map: at the start of the process, and whenever its indexes change. Indexes whose
/// groups are still to be made (or are being removed) are left out.
pub fn publish(tables: &Arc<Tables>, record: &Record) -> Result<(), Refusal> {
    let items = ranges(tables, &record.partitions).ok_or_else(|| missing(record))?;
    let wanted = record.global.iter().filter(|index| index.phase != IndexPhase::Removing);
    let indexes = wanted
        .filter_map(|index| Some((index.id, ranges(tables, &index.partitions)?)))
        .collect();
    tables.directory.set(record.id, TableRoute { table: items, indexes });
    tables.catalog.serve(&record.account, record.schema());
    index_worker::ensure(tables, record);
    Ok(())
}

fn missing(record: &Record) -> Refusal {
    Refusal::Corrupt(format!(
        "the data folder lacks partitions of table {}",
        record.spec.name
    ))
}

/// Leaders of these partitions; `None` while one is not there.
fn ranges(tables: &Tables, partitions: &[PartitionRecord]) -> Option<Ranges<Arc<Group>>> {
    let leaders = partitions
        .iter()
        .map(|partition| Some((partition.start.clone(), tables.store.group(partition.group)?)));
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
        if !backfill(tables, table, &group, name, index.id).await? {
            return Ok(());
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
                session: index_worker::session(&source),
                rows: Vec::new(),
                through: source.stats().counters.clock,
            };
            target.command(Command::Deliver(batch)).await?;
        }
    }
    Ok(())
}

/// Copies a partition's items into a new index, piece by piece; each piece is delivered before the next, so that the
/// change log stays small. `false` when the index was given up meanwhile.
async fn backfill(
    tables: &Arc<Tables>,
    table: &Table,
    group: &Arc<Group>,
    name: &str,
    index: IndexId,
) -> Result<bool, Refusal> {
    let mut after = None;
    loop {
        if table
            .record()
            .index(name)
            .is_none_or(|index| index.phase != IndexPhase::Building)
        {
            return Ok(false);
        }
        let piece = Command::Backfill {
            index,
            after,
            rows_max: WALK_ROWS_MAX,
            bytes_max: WALK_BYTES_MAX,
        };
        let next = walked(group.command(piece).await?);
        index_worker::delivered(tables, group.id(), group.stats().counters.clock).await?;
        match next {
            Some(key) => after = Some(key),
            None => return Ok(true),
        }
    }
}

async fn switch_time_to_live(tables: &Arc<Tables>, table: &Table, record: &Record) -> Result<(), Refusal> {
    publish(tables, record)?;
    set_schema(tables, record).await?;
    let on = record.time_to_live == TimeToLiveStatus::Enabling;
    for group in groups(tables, record)? {
        let mut after = None;
        loop {
            let piece = if on {
                Command::IndexExpiry {
                    after,
                    rows_max: WALK_ROWS_MAX,
                }
            } else {
                Command::DropExpiry {
                    after,
                    rows_max: WALK_ROWS_MAX,
                }
            };
            match walked(group.command(piece).await?) {
                Some(key) => after = Some(key),
                None => break,
            }
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

/// Where a walk over rows goes on.
fn walked(reply: CommandReply) -> Option<KeyBytes> {
    match reply {
        CommandReply::Progress { next, .. } => next,
        CommandReply::Done | CommandReply::Delivered(_) | CommandReply::OldSession(_) => None,
    }
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
