//! A directory from a file, read again when it changes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use super::{Directory, Listing, Source};

/// A file that cannot be read or followed is looked at again after this.
const RETRY: Duration = Duration::from_secs(1);

/// A file in the format of [`Listing`].
#[derive(Debug)]
pub struct File {
    path: PathBuf,
}

impl File {
    /// At this path; it need not be there yet.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }

    async fn read(&self) -> anyhow::Result<Listing> {
        let text = tokio::fs::read(&self.path).await?;
        let listing: Listing = serde_json::from_slice(&text)?;
        // Whoever writes the file by hand need not count its changes.
        Ok(Listing::of(listing.tables))
    }

    /// Wakes with every event in the file's folder: a file that is replaced is another file.
    fn watch(&self) -> notify::Result<(impl Watcher + use<>, mpsc::Receiver<()>)> {
        let (tell, told) = mpsc::channel(1);
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A full channel has a wake-up in it already. Reading the file is an event, too, and not a change.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        })?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        watcher.watch(folder.unwrap_or(Path::new(".")), RecursiveMode::NonRecursive)?;
        Ok((watcher, told))
    }
}

impl Source for File {
    async fn follow(self, directory: Arc<Directory>) {
        loop {
            let (_watcher, mut changes) = match self.watch() {
                Ok(watching) => watching,
                Err(error) => {
                    tracing::warn!(file = %self.path.display(), %error, "the directory's file cannot be followed");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            };
            loop {
                match self.read().await {
                    Ok(listing) => {
                        directory.source_answers();
                        directory.set(listing);
                    }
                    Err(error) => {
                        directory.source_is_away();
                        tracing::warn!(file = %self.path.display(), "the directory's file is of no use: {error:#}");
                    }
                }
                if changes.recv().await.is_none() {
                    break;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cache;
    use super::super::entry::tests::entry;
    use super::*;

    #[tokio::test]
    async fn a_replaced_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tables.json");
        let write = |listing: &Listing| cache::write(&path, &serde_json::to_vec(listing).unwrap()).unwrap();
        let listing = |host| Listing::of(vec![Arc::new(entry("orders", 1, host))]);
        let directory = Directory::follow(File::new(&path), None);
        let mut listings = directory.subscribe();
        write(&listing("a:1"));
        directory.loaded().await;
        assert_eq!(*directory.current(), listing("a:1"));
        listings.mark_unchanged();
        std::fs::write(&path, "not JSON").unwrap();
        write(&listing("a:2"));
        listings.wait_for(|now| **now == listing("a:2")).await.unwrap();
    }
}
