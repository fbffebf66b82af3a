//! The listing on disk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Listing;

/// The file's name in the cache folder.
const FILE: &str = "directory.json";
/// A listing that changes is written once in so long: what is lost with a crash, a node corrects.
pub const WRITE_EVERY: Duration = Duration::from_secs(1);

/// The file in a cache folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

/// What was kept; `None` when there is nothing, or nothing that can be read.
pub fn read(file: &Path) -> Option<Listing> {
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "the kept directory cannot be read");
            return None;
        }
    };
    serde_json::from_slice(&text)
        .inspect_err(|error| tracing::warn!(file = %file.display(), %error, "the kept directory is of no use"))
        .ok()
}

/// Writes the listing when it changes, with a pause after each time, as long as the process lives.
pub async fn keep(mut listings: watch::Receiver<Arc<Listing>>, file: PathBuf, pause: Duration) {
    while listings.changed().await.is_ok() {
        let listing = listings.borrow_and_update().clone();
        let path = file.clone();
        let written = tokio::task::spawn_blocking(move || write(&path, &serde_json::to_vec(&*listing)?)).await;
        match written {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(file = %file.display(), %error, "the directory cannot be kept on disk"),
            Err(_) => return,
        }
        tokio::time::sleep(pause).await;
    }
}

/// Replaces a file of the cache folder: it is there as a whole or not at all, and nobody else can read it.
pub fn write(file: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let unfinished = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut new = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)?;
    new.write_all(content)?;
    new.sync_data()?;
    std::fs::rename(&unfinished, file)
}

#[cfg(test)]
mod tests {
    use super::super::Directory;
    use super::super::entry::tests::entry;
    use super::*;

    #[tokio::test]
    async fn the_last_listing_is_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(&folder.path().join("made"));
        assert_eq!(read(&path), None);
        let directory = Directory::new();
        let look = Duration::from_millis(1);
        let keeping = tokio::spawn(keep(directory.subscribe(), path.clone(), look));
        for host in ["a:1", "a:2", "a:3"] {
            let listing = Listing::of(vec![Arc::new(entry("orders", 1, host))]);
            directory.set(listing.clone());
            while read(&path).as_ref() != Some(&listing) {
                tokio::time::sleep(look).await;
            }
        }
        keeping.abort();
    }

    #[test]
    fn what_cannot_be_read_is_no_listing() {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path());
        write(&path, b"{\"tables\": [1]}").unwrap();
        assert_eq!(read(&path), None);
    }
}
