//! Where buckets stand, kept in the data folder.
//!
//! 1. [`LevelsFile::open`] reads what the process before this one has left. A file that cannot be understood keeps no data from being
//!    served: it is reported, a copy is set aside, and tables that were there before begin with nothing saved up;
//! 2. [`keep`] sleeps until something is used, waits a moment, and writes the levels of all tables that are not as new
//!    ones; what a process that is killed has used within that moment is forgotten, and no more than that;
//! 3. [`Admission::close`] writes them once more when the process stops: before its store does, whose partitions go then.
//!
//! The time in between brings no units: a process that starts goes on where the one before has stopped.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use parking_lot::Mutex;
use partita_admission::pool::TELL_EVERY_MS;
use partita_admission::table::Levels;
use partita_model::schema::{IndexId, TableId};
use partita_model::table::record::Record;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::Admission;
use crate::process;

/// How long a change may stay unwritten: what a process that is killed forgets. Short beside the 300 s of a burst, long
/// beside the sync that it costs.
const KEEP_EVERY: Duration = Duration::from_secs(1);
/// While nothing is used, and buckets fill up, they are written so often: a tenth of a burst.
const KEEP_FILLING_EVERY: Duration = Duration::from_millis(TELL_EVERY_MS);
/// The file within the data folder.
const FILE: &str = "admission.json";

/// One kind of units each; `None`: as of a new table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SavedUnits {
    /// Reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reads: Option<Levels>,
    /// Writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<Levels>,
}

/// A table and its global indexes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SavedTable {
    /// The table's own units.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<SavedUnits>,
    /// Its global indexes', by number.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub indexes: BTreeMap<IndexId, SavedUnits>,
}

/// What was left by the process before.
#[derive(Debug, Default)]
pub struct Saved {
    levels: HashMap<TableId, SavedTable>,
    /// What was left could not be read then, in epoch milliseconds: of tables that were made before it is not known what they have used.
    lost_ms: Option<u64>,
}

impl Saved {
    /// Of a process that left these.
    #[cfg(test)]
    pub fn of(levels: HashMap<TableId, SavedTable>) -> Self {
        Self { levels, lost_ms: None }
    }

    /// Of all tables that have not been taken.
    pub fn rest(&self) -> &HashMap<TableId, SavedTable> {
        &self.levels
    }

    /// Keeps a table's levels until they are taken.
    pub fn put(&mut self, table: TableId, levels: SavedTable) {
        self.levels.insert(table, levels);
    }

    /// A table's levels, once. What is not known counts as used up.
    pub fn take(&mut self, record: &Record) -> SavedTable {
        let lost = self.lost_ms.is_some_and(|lost_ms| record.dates.created_ms < lost_ms);
        match self.levels.remove(&record.id) {
            Some(levels) => levels,
            None if lost => SavedTable::used_up(record),
            None => SavedTable::default(),
        }
    }

    /// A table is gone.
    pub fn forget(&mut self, table: TableId) {
        self.levels.remove(&table);
    }
}

impl SavedTable {
    /// Nothing is left of any units.
    fn used_up(record: &Record) -> Self {
        let empty = || {
            let levels = || Some(Levels::default().without_savings());
            SavedUnits {
                reads: levels(),
                writes: levels(),
            }
        };
        Self {
            own: Some(empty()),
            indexes: record.global.iter().map(|index| (index.id, empty())).collect(),
        }
    }
}

/// Whether something has been used since levels were last written.
#[derive(Debug, Default)]
pub struct Kept {
    changed: AtomicBool,
    wake: Notify,
    /// The last attempt has failed.
    failing: AtomicBool,
}

impl Kept {
    /// Something was used: the levels have to be written.
    pub fn note_change(&self) {
        if !self.changed.load(Ordering::Relaxed) && !self.changed.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }
}

/// The file.
#[derive(Debug)]
pub struct LevelsFile {
    path: PathBuf,
    /// Writes happen one after the other, until there has been the last one.
    closed: Mutex<bool>,
}

impl LevelsFile {
    /// Reads the file, if there is one.
    pub fn open(data: &Path) -> anyhow::Result<(Self, Saved)> {
        let path = data.join(FILE);
        let saved = match fs::read(&path) {
            Ok(text) => match serde_json::from_slice(&text) {
                Ok(levels) => Saved { levels, lost_ms: None },
                Err(error) => damaged(&path, &error),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved::default(),
            Err(error) => return Err(error).with_context(|| path.display().to_string()),
        };
        let file = Self {
            path,
            closed: Mutex::new(false),
        };
        Ok((file, saved))
    }

    fn write(&self, admission: &Admission, last: bool) -> io::Result<()> {
        let mut closed = self.closed.lock();
        if *closed {
            return Ok(());
        }
        *closed = last;
        let unfinished = self.path.with_extension("json.new");
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec(&admission.levels())?)?;
        file.sync_all()?;
        fs::rename(&unfinished, &self.path)
    }
}

/// What is there instead of levels is reported and kept for whoever wants to know why. The file itself stays until the first levels
/// are written in its place: without one, a process that is killed before would leave tables that look like new ones.
fn damaged(path: &Path, error: &serde_json::Error) -> Saved {
    let aside = path.with_extension("json.damaged");
    let kept = fs::copy(path, &aside).map(|_| aside.display().to_string());
    let kept = kept.unwrap_or_else(|error| format!("nowhere: {error}"));
    tracing::error!(
        file = %path.display(), %error, kept,
        "not the levels of tables' units: tables begin with nothing saved up"
    );
    Saved {
        levels: HashMap::new(),
        lost_ms: Some(process::now_ms()),
    }
}

impl Admission {
    /// Writes the levels for the last time, before the store ends; durable on return.
    pub fn close(&self) {
        self.save(true);
    }

    pub(super) fn save(&self, last: bool) {
        let Some(file) = &self.file else { return };
        match file.write(self, last) {
            Ok(()) => self.kept.failing.store(false, Ordering::Relaxed),
            // Said once: it is tried again every second.
            Err(error) if !self.kept.failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(file = %file.path.display(), %error, "the levels of tables' units could not be written");
            }
            Err(_) => {}
        }
    }
}

/// Writes the levels whenever they have changed, until the process stops.
pub async fn keep(admission: Arc<Admission>) {
    loop {
        if admission.fills() {
            // What has come in since must not be forgotten either; nor may a debt be paid back twice.
            let _ = tokio::time::timeout(KEEP_FILLING_EVERY, admission.kept.wake.notified()).await;
        } else {
            admission.kept.wake.notified().await;
        }
        tokio::time::sleep(KEEP_EVERY).await;
        // First this: what is used from here on is written next time.
        admission.kept.changed.store(false, Ordering::Relaxed);
        let saved = Arc::clone(&admission);
        if tokio::task::spawn_blocking(move || saved.save(false)).await.is_err() {
            return;
        }
    }
}
