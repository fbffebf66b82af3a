//! Table records on disk: one JSON file per table, replaced as a whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use partita_model::schema::TableId;
use serde::Deserialize;

use partita_model::table::record::{FORMAT, Record};

/// The end of a record's file name.
const RECORD_SUFFIX: &str = ".json";
/// The end of the name of a file that was not finished.
const UNFINISHED_SUFFIX: &str = ".json.new";

/// The folder of the records.
#[derive(Debug)]
pub struct CatalogFiles {
    folder: PathBuf,
}

impl CatalogFiles {
    /// Opens the folder, making it when there is none, and reads every record in it.
    pub fn open(folder: PathBuf) -> anyhow::Result<(Self, Vec<Record>)> {
        fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent).with_context(|| parent.display().to_string())?;
        }
        let mut records = Vec::new();
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let path = entry.with_context(|| folder.display().to_string())?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if name.ends_with(UNFINISHED_SUFFIX) {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            } else if name.ends_with(RECORD_SUFFIX) {
                records.push(read(&path).with_context(|| path.display().to_string())?);
            }
        }
        Ok((Self { folder }, records))
    }

    /// Replaces (or makes) a table's record; durable on return.
    pub fn write(&self, record: &Record) -> io::Result<()> {
        let unfinished = self.folder.join(format!("{}{UNFINISHED_SUFFIX}", file_stem(record.id)));
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, self.path(record.id))?;
        sync_folder(&self.folder)
    }

    /// Removes a table's record; durable on return.
    pub fn remove(&self, id: TableId) -> io::Result<()> {
        fs::remove_file(self.path(id))?;
        sync_folder(&self.folder)
    }

    fn path(&self, id: TableId) -> PathBuf {
        self.folder.join(format!("{}{RECORD_SUFFIX}", file_stem(id)))
    }
}

/// Named after the id and not the table: names differ by case, and not every file system tells those apart.
fn file_stem(id: TableId) -> String {
    format!("{:016x}", id.0)
}

fn read(path: &Path) -> anyhow::Result<Record> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let bytes = fs::read(path)?;
    let head: Head = serde_json::from_slice(&bytes).context("not a table record")?;
    if head.format > FORMAT {
        bail!(
            "written by a newer version (format {}, this version reads up to {FORMAT})",
            head.format
        );
    }
    serde_json::from_slice(&bytes).context("not a table record")
}

/// Makes the names in a folder durable.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
