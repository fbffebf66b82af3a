//! Where every table's partitions are, as routers and replicas know it.
//!
//! 1. A [`Source`] says what there is, and says it again whenever it changes: the API server ([`kubernetes`]), a router
//!    ([`router`]) or a file ([`file`]).
//! 2. [`Directory`] holds the latest [`Listing`]; whoever needs it looks, or waits for the next.
//! 3. [`cache`] keeps it on disk: a process that restarts while its source is away begins with what it knew.
//! 4. [`serve`] hands it to others.
//!
//! A listing may be out of date: a node that is asked by mistake says so, and says what it knows.

mod cache;
mod entry;
mod file;
pub mod kubernetes;
mod router;
pub mod serve;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use parking_lot::Mutex;
use partita_tls::{Current, Mutual};
use tokio::sync::watch;

pub use cache::write as write_private;
#[cfg(test)]
pub use entry::tests as samples;
pub use entry::{Entry, Listing};

/// Where a directory comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// The API server: Tables and Partitions.
    Kubernetes,
    /// A router's admin address.
    Http(String),
    /// A file.
    File(PathBuf),
}

impl FromStr for Location {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "kubernetes" {
            return Ok(Self::Kubernetes);
        }
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::File(path.into()));
        }
        let wrong = || "neither kubernetes, nor http(s)://HOST:PORT, nor file:PATH".to_owned();
        let (scheme, address) = text.split_once("://").ok_or_else(wrong)?;
        let address = address.trim_end_matches('/');
        match scheme {
            "http" | "https" if !address.is_empty() && !address.contains('/') => {
                Ok(Self::Http(format!("{scheme}://{address}")))
            }
            _ => Err(wrong()),
        }
    }
}

/// Something that knows the tables, and tells a directory.
pub trait Source: Send + 'static {
    /// Tells `directory` every listing, and whether the source can be asked, as long as the process lives.
    fn follow(self, directory: Arc<Directory>) -> impl Future<Output = ()> + Send;
}

/// The latest listing.
#[derive(Debug)]
pub struct Directory {
    listing: watch::Sender<Arc<Listing>>,
    state: Mutex<State>,
}

/// What is known about the listing.
#[derive(Debug, Clone, Copy)]
struct State {
    /// A listing has come, from the source or from disk.
    loaded: bool,
    /// Since when the source cannot be asked.
    away_since: Option<Instant>,
}

impl Directory {
    /// Follows a source in the background; begins with what `cache` (a folder) holds, and keeps it up to date.
    pub fn follow(source: impl Source, cache: Option<&Path>) -> Arc<Self> {
        let directory = Arc::new(Self::new());
        if let Some(folder) = cache {
            let file = cache::file(folder);
            if let Some(listing) = cache::read(&file) {
                tracing::info!(
                    tables = listing.tables.len(),
                    "the directory begins with what was kept on disk"
                );
                directory.set(listing);
            }
            tokio::spawn(cache::keep(directory.subscribe(), file, cache::WRITE_EVERY));
        }
        tokio::spawn(source.follow(Arc::clone(&directory)));
        directory
    }

    /// Follows another router (over https with these certificates) or a file; `None` for what needs more than an address.
    pub fn follow_location(
        location: &Location,
        cache: Option<&Path>,
        tls: Option<&Current<Mutual>>,
    ) -> anyhow::Result<Option<Arc<Self>>> {
        Ok(match location {
            Location::Kubernetes => None,
            Location::Http(address) => {
                if address.starts_with("https:") && tls.is_none() {
                    bail!("--directory {address}: this needs certificates (--peer-tls)");
                }
                Some(Self::follow(router::Router::new(address, tls.cloned()), cache))
            }
            Location::File(path) => Some(Self::follow(file::File::new(path), cache)),
        })
    }

    fn new() -> Self {
        Self {
            listing: watch::Sender::new(Arc::default()),
            state: Mutex::new(State {
                loaded: false,
                away_since: Some(Instant::now()),
            }),
        }
    }

    /// The latest listing; an empty one while nothing is known.
    pub fn current(&self) -> Arc<Listing> {
        self.listing.borrow().clone()
    }

    /// Each listing from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Listing>> {
        self.listing.subscribe()
    }

    /// Waits until something is known.
    pub async fn loaded(&self) {
        let mut listings = self.listing.subscribe();
        while !self.is_loaded() {
            // The sender is `self`'s: it does not go away meanwhile.
            let _ = listings.changed().await;
        }
    }

    /// Whether something is known.
    pub fn is_loaded(&self) -> bool {
        self.state.lock().loaded
    }

    /// For how long the source could not be asked: zero while it can.
    pub fn source_away(&self) -> Duration {
        self.state
            .lock()
            .away_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// A source's (or the cache's) listing.
    pub(crate) fn set(&self, listing: Listing) {
        let first = !std::mem::replace(&mut self.state.lock().loaded, true);
        self.listing.send_if_modified(|current| {
            let changed = **current != listing;
            if changed {
                *current = Arc::new(listing);
            }
            changed || first
        });
    }

    /// The source answers.
    pub(crate) fn source_answers(&self) {
        self.state.lock().away_since = None;
    }

    /// The source does not answer.
    pub(crate) fn source_is_away(&self) {
        self.state.lock().away_since.get_or_insert_with(Instant::now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_told_apart() {
        let parse = |text: &str| text.parse::<Location>();
        assert_eq!(parse("kubernetes"), Ok(Location::Kubernetes));
        assert_eq!(parse("http://r:8001/"), Ok(Location::Http("http://r:8001".to_owned())));
        assert_eq!(parse("https://r:8002"), Ok(Location::Http("https://r:8002".to_owned())));
        assert_eq!(parse("file:/a/b"), Ok(Location::File("/a/b".into())));
        for wrong in ["", "file:", "http://", "http://a/b", "https://", "ftp://a", "a:1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[tokio::test]
    async fn an_empty_listing_is_known_too() {
        let directory = Directory::new();
        assert!(!directory.is_loaded());
        let mut listings = directory.subscribe();
        directory.set(Listing::default());
        directory.loaded().await;
        assert!(listings.has_changed().unwrap());
        listings.mark_unchanged();
        directory.set(Listing::default());
        assert!(!listings.has_changed().unwrap());
    }
}
