//! The data folder itself: `LOCK` (held while a process has it open), `STORE` (format and identity), `state/` and
//! `log/`.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::store::OpenError;

/// The format written and the newest one read.
const FORMAT: u32 = 1;

/// A data folder that belongs to this process.
pub(crate) struct Folder {
    path: PathBuf,
    uuid: Uuid,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Folder {
    /// Makes the folder if need be, locks it and reads its identity, or gives it one.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        std::fs::create_dir_all(path).map_err(failed(path))?;
        let lock_path = path.join("LOCK");
        let lock = File::options()
            .create(true)
            .append(true)
            .open(&lock_path)
            .map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed(&lock_path)(error)),
        }
        let identity = path.join("STORE");
        let uuid = match std::fs::read_to_string(&identity) {
            Ok(text) => read_identity(path, &identity, &text)?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // A store without its identity is not a new one.
                if path.join("state").exists() || path.join("log").exists() {
                    let reason = "the file is missing from a folder that holds data".to_owned();
                    return Err(OpenError::Identity { path: identity, reason });
                }
                write_identity(path, &identity)?
            }
            Err(error) => return Err(failed(&identity)(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            uuid,
            _lock: lock,
        })
    }

    pub(crate) fn uuid(&self) -> Uuid {
        self.uuid
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }
}

fn failed(path: &Path) -> impl Fn(std::io::Error) -> OpenError {
    let path = path.to_owned();
    move |error| OpenError::Io {
        path: path.clone(),
        error,
    }
}

fn read_identity(folder: &Path, path: &Path, text: &str) -> Result<Uuid, OpenError> {
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
            .ok_or_else(|| OpenError::Identity {
                path: path.to_owned(),
                reason: format!("no line `{name}`"),
            })
    };
    let unreadable = |name: &str, value: &str| OpenError::Identity {
        path: path.to_owned(),
        reason: format!("`{name} {value}` makes no sense"),
    };
    let format = field("format")?;
    let found = format.parse().map_err(|_| unreadable("format", format))?;
    if found > FORMAT {
        return Err(OpenError::Newer {
            path: folder.to_owned(),
            found,
            known: FORMAT,
        });
    }
    let uuid = field("uuid")?;
    Uuid::parse_str(uuid).map_err(|_| unreadable("uuid", uuid))
}

/// Written beside its place, synced and moved there: it is whole or not there.
fn write_identity(folder: &Path, path: &Path) -> Result<Uuid, OpenError> {
    let uuid = Uuid::new_v4();
    let draft = folder.join("STORE.new");
    let write = || {
        let mut file = File::create(&draft)?;
        write!(file, "format {FORMAT}\nuuid {uuid}\n")?;
        file.sync_all()?;
        std::fs::rename(&draft, path)?;
        File::open(folder)?.sync_all()?;
        match folder.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(failed(path))?;
    Ok(uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_stays_and_a_second_owner_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = Folder::open(&path).unwrap();
        let Err(refused) = Folder::open(&path) else {
            panic!("opened twice")
        };
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
        let uuid = first.uuid();
        drop(first);
        assert_eq!(Folder::open(&path).unwrap().uuid(), uuid);
    }

    #[test]
    fn what_is_newer_or_damaged_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let reason = |text: &str| {
            std::fs::write(path.join("STORE"), text).unwrap();
            Folder::open(path).err().unwrap().to_string()
        };
        assert!(reason("format 2\nuuid x\n").contains("use the newer version"));
        assert!(reason("").contains("no line `format`"));
        assert!(reason("format 1\nuuid x\n").contains("`uuid x` makes no sense"));
        std::fs::remove_file(path.join("STORE")).unwrap();
        std::fs::create_dir(path.join("state")).unwrap();
        assert!(Folder::open(path).err().unwrap().to_string().contains("missing"));
    }
}
