//! Certificates that change under a running process.
//!
//! 1. [`Current::follow`] reads the files once; what cannot be used then is an error.
//! 2. A task wakes with every event in the files' folders (Kubernetes swaps a symbolic link there), waits until nothing
//!    more happens for a moment, and reads them again. Now and then it does so without an event: not every file system
//!    has them.
//! 3. Other bytes that can be used are the latest from then on; what cannot be used is logged, counted in
//!    [`Status::failed`], and changes nothing.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::files::{Files, Pem, Unusable};

/// Files are written one after the other: a certificate without its key is no mistake if the key follows.
const QUIET: Duration = Duration::from_millis(250);
/// How often files are read without an event: a certificate is renewed days before it expires.
const LOOK_EVERY: Duration = Duration::from_secs(10 * 60);

/// What files can mean.
pub trait Loaded: Sized + Send + Sync + 'static {
    /// What these do, or why they cannot be used.
    fn load(pem: &Pem) -> Result<Self, Unusable>;
    /// When it expires, in seconds since 1970.
    fn not_after(&self) -> i64;
}

/// How it stands with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// When the certificate in use expires, in seconds since 1970.
    pub not_after: i64,
    /// The files as they are now cannot be used.
    pub failed: bool,
}

/// The latest certificates. Clones share them.
#[derive(Debug)]
pub struct Current<T> {
    shared: Arc<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    latest: watch::Sender<Arc<T>>,
    /// Counts replacements: cheaper to look at than `latest`.
    generation: AtomicU64,
    failed: AtomicBool,
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: Loaded> Current<T> {
    /// Reads the files, and follows them for as long as the runtime lives.
    pub fn follow(files: Files) -> Result<Self, Unusable> {
        let pem = files.read()?;
        let current = Self::fixed(T::load(&pem)?);
        current.log(&pem);
        let shared = Arc::clone(&current.shared);
        tokio::spawn(async move { Self { shared }.keep(files, pem).await });
        Ok(current)
    }

    /// What nobody replaces.
    pub fn fixed(loaded: T) -> Self {
        Self {
            shared: Arc::new(Shared {
                latest: watch::Sender::new(Arc::new(loaded)),
                generation: AtomicU64::new(0),
                failed: AtomicBool::new(false),
            }),
        }
    }

    /// What to use now.
    pub fn latest(&self) -> Arc<T> {
        Arc::clone(&self.shared.latest.borrow())
    }

    /// How often it has been replaced.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// Waits until what is used at the time of this call has been replaced.
    pub fn replaced(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut latest = self.shared.latest.subscribe();
        async move {
            if latest.changed().await.is_err() {
                // Nobody is left who could.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Uses something else from now on.
    pub fn replace(&self, loaded: T) {
        self.shared.latest.send_replace(Arc::new(loaded));
        self.shared.generation.fetch_add(1, Ordering::Release);
    }

    /// How it stands.
    pub fn status(&self) -> Status {
        Status {
            not_after: self.latest().not_after(),
            failed: self.shared.failed.load(Ordering::Relaxed),
        }
    }

    async fn keep(self, files: Files, mut known: Pem) {
        let mut events = Events::new(&files);
        loop {
            events.next().await;
            // Files may lie on a disk that does not answer.
            let reading = files.clone();
            let Ok(read) = tokio::task::spawn_blocking(move || reading.read()).await else {
                return;
            };
            let loaded = match read {
                Ok(pem) if pem == known => {
                    self.shared.failed.store(false, Ordering::Relaxed);
                    continue;
                }
                Ok(pem) => T::load(&pem).map(|loaded| (pem, loaded)),
                Err(error) => Err(error),
            };
            match loaded {
                Ok((pem, loaded)) => {
                    self.replace(loaded);
                    self.shared.failed.store(false, Ordering::Relaxed);
                    self.log(&pem);
                    known = pem;
                }
                Err(error) => {
                    self.shared.failed.store(true, Ordering::Relaxed);
                    tracing::error!(%error, "a new certificate cannot be used: the old one stays in use");
                }
            }
        }
    }

    fn log(&self, pem: &Pem) {
        let left = pem.certificate.valid_for(std::time::SystemTime::now());
        let certificate = pem.files.certificate.display();
        let (names, hours) = (&pem.certificate.dns, left.as_secs() / 3600);
        if left.is_zero() {
            tracing::error!(%certificate, ?names, "the certificate has expired: nobody will accept it");
        } else {
            tracing::info!(%certificate, ?names, hours, "a certificate is in use");
        }
    }
}

/// Events in folders.
struct Events {
    folders: Vec<PathBuf>,
    watcher: Option<notify::RecommendedWatcher>,
    told: mpsc::Receiver<()>,
    tell: mpsc::Sender<()>,
}

impl Events {
    fn new(files: &Files) -> Self {
        let (tell, told) = mpsc::channel(1);
        let mut events = Self {
            folders: files.folders(),
            watcher: None,
            told,
            tell,
        };
        events.watch();
        // What changed between the first reading and the watch would go unseen.
        let _ = events.tell.try_send(());
        events
    }

    /// Watches the folders; whether that works.
    fn watch(&mut self) {
        let tell = self.tell.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // A full channel has a wake-up in it already. Reading the files is an event, too, and not a change.
            if !event.is_ok_and(|event| event.kind.is_access()) {
                let _ = tell.try_send(());
            }
        });
        let watching = watcher.and_then(|mut watcher| {
            for folder in &self.folders {
                watcher.watch(folder, RecursiveMode::NonRecursive)?;
            }
            Ok(watcher)
        });
        match watching {
            Ok(watcher) => self.watcher = Some(watcher),
            Err(error) => {
                tracing::warn!(%error, every = ?LOOK_EVERY, "certificates' folders cannot be watched: they are read now and then");
            }
        }
    }

    /// Waits for an event and for the quiet behind it, or for long enough.
    async fn next(&mut self) {
        if self.watcher.is_none() {
            self.watch();
        }
        // The sender is ours: the channel does not end.
        if timeout(LOOK_EVERY, self.told.recv()).await.is_ok() {
            while timeout(QUIET, self.told.recv()).await.is_ok() {}
        }
    }
}
