//! The disk after a loss of power: what was synced, and torn pieces of what was not.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::SmallRng;

/// What a disk writes whole.
const SECTOR_BYTES: usize = 512;

/// The interposer's library, built beside this program.
pub fn library() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("libpartita_interposer.so");
    anyhow::ensure!(
        path.exists(),
        "{} is missing: cargo build -p partita-interposer",
        path.display()
    );
    Ok(path)
}

/// The environment that puts a process under the interposer; while the file `lie` is there, its syncs do nothing.
pub fn environment(data: &Path, shadow: &Path, lie: &Path) -> Result<Vec<(String, String)>> {
    Ok(vec![
        ("LD_PRELOAD".to_owned(), library()?.display().to_string()),
        ("INTERPOSER_DATA".to_owned(), data.display().to_string()),
        ("INTERPOSER_SHADOW".to_owned(), shadow.display().to_string()),
        ("INTERPOSER_LIE".to_owned(), lie.display().to_string()),
    ])
}

/// What of the unsynced writes the disk got to write before the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    All,
    /// Of each file, some sectors.
    Torn,
}

/// What was lost.
#[derive(Debug, Default)]
pub struct Lost {
    pub files: usize,
    pub bytes: u64,
}

/// Makes `data` what a disk would hold, and `shadow` equal to it.
pub fn lose_power(data: &Path, shadow: &Path, loss: Loss, rng: &mut SmallRng) -> Result<Lost> {
    let mut lost = Lost::default();
    let written = files(data)?;
    let synced = files(shadow)?;
    for (name, path) in &written {
        let Some(twin) = synced.get(name) else {
            // It was written past the interposer (a log of text), or never opened for writing through it.
            fs::remove_file(path)?;
            continue;
        };
        let (now, safe) = (fs::read(path)?, fs::read(twin)?);
        if now == safe {
            continue;
        }
        let kept = match loss {
            Loss::All => safe.clone(),
            Loss::Torn => torn(&now, &safe, rng),
        };
        if kept != now {
            lost.files += 1;
            lost.bytes += differing(&kept, &now);
        }
        fs::write(path, &kept)?;
        fs::write(twin, &kept)?;
    }
    for (name, twin) in &synced {
        if !written.contains_key(name) {
            fs::remove_file(twin).with_context(|| format!("{name:?} is in the shadow alone"))?;
        }
    }
    Ok(lost)
}

/// Each sector that differs is either the new or the old one; the length is somewhere between both.
fn torn(now: &[u8], safe: &[u8], rng: &mut SmallRng) -> Vec<u8> {
    let length = if now.len() == safe.len() {
        now.len()
    } else {
        rng.random_range(now.len().min(safe.len())..=now.len().max(safe.len()))
    };
    // Some disks write in order, some do not: the share of new sectors is another one each time.
    let share = rng.random_range(0.0..1.0);
    let mut kept = vec![0; length];
    for start in (0..length).step_by(SECTOR_BYTES) {
        let end = (start + SECTOR_BYTES).min(length);
        let from = if rng.random_bool(share) { now } else { safe };
        if from.len() > start {
            let available = from.len().min(end);
            kept[start..available].copy_from_slice(&from[start..available]);
        }
    }
    kept
}

fn differing(a: &[u8], b: &[u8]) -> u64 {
    let same = a.iter().zip(b).filter(|(a, b)| a == b).count();
    (a.len().max(b.len()) - same) as u64
}

/// Every file below a folder, by its path in it.
pub fn files(folder: &Path) -> io::Result<BTreeMap<PathBuf, PathBuf>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                let name = entry
                    .path()
                    .strip_prefix(folder)
                    .map(Path::to_owned)
                    .map_err(io::Error::other)?;
                found.insert(name, entry.path());
            }
        }
    }
    Ok(found)
}

/// A folder in memory when there is one, because thousands of rounds should not wait for a disk.
pub fn fast_folder() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() {
        tempfile::tempdir_in(memory)?
    } else {
        tempfile::tempdir()?
    })
}
