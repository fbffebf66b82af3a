//! Following a folder of manifests.

use std::sync::Arc;
use std::time::Duration;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::super::tables::Tables;
use super::Manifests;
use super::reconcile::reconcile;

/// How long the folder must be quiet before it is read: editors write in several steps.
const QUIET: Duration = Duration::from_millis(200);
/// How long after a look at tables that are on their way to look again.
const AGAIN: Duration = Duration::from_secs(1);

/// Reconciles now and whenever something in the folder changes. Following ends with the process.
pub fn watch(tables: Arc<Tables>, manifests: Arc<Manifests>) -> notify::Result<()> {
    let changed = Arc::new(Notify::new());
    let tell = Arc::clone(&changed);
    let mut watcher: RecommendedWatcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Reading the folder is an event too: it must not lead to another reading.
        if !matches!(
            event,
            Ok(Event {
                kind: EventKind::Access(_),
                ..
            })
        ) {
            tell.notify_one();
        }
    })?;
    watcher.watch(&manifests.folder, RecursiveMode::NonRecursive)?;
    tokio::spawn(async move {
        let _watcher = watcher;
        loop {
            if reconcile(&tables, &manifests).await {
                changed.notified().await;
                while tokio::time::timeout(QUIET, changed.notified()).await.is_ok() {}
            } else {
                // Some tables are on their way: look again, at the latest after a while.
                let _ = tokio::time::timeout(AGAIN, changed.notified()).await;
            }
        }
    });
    Ok(())
}
