//! Tables declared in a folder of manifests.
//!
//! 1. [`folder`] reads the folder: files, documents ([`crate::manifest`]), specifications ([`partita_crds::convert`]);
//! 2. [`reconcile`] makes the tables what the manifests say, and notes what it refuses;
//! 3. [`watch`] does both again whenever a file changes.

pub mod folder;
mod reconcile;
mod watch;

use std::path::PathBuf;

use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::watch::Sender;

pub use reconcile::ACCOUNT;
pub use watch::watch;

/// A manifest that was not followed: the table, if there is one, stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file, relative to the folder.
    pub file: String,
    /// The resource, or the document's place in the file where it has no readable name.
    pub resource: String,
    /// The field and the reason.
    pub reason: String,
}

/// The folder and what is wrong with it.
pub struct Manifests {
    /// Where they are.
    pub folder: PathBuf,
    /// What was refused at the last reconciliation.
    problems: RwLock<Vec<Problem>>,
    /// Counts reconciliations.
    turns: Sender<u64>,
}

impl Manifests {
    /// A folder that has not been read yet.
    pub fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            problems: RwLock::new(Vec::new()),
            turns: Sender::new(0),
        }
    }

    /// What was refused at the last reconciliation.
    pub fn problems(&self) -> Vec<Problem> {
        self.problems.read().clone()
    }

    /// Waits for the first reconciliation.
    pub async fn followed(&self) {
        // The sender is in `self`: there is no error.
        let _ = self.turns.subscribe().wait_for(|turns| *turns > 0).await;
    }

    /// Notes what is refused now; logs what was not refused before, and what is not any more.
    fn note(&self, problems: Vec<Problem>) {
        let mut noted = self.problems.write();
        for problem in problems.iter().filter(|problem| !noted.contains(problem)) {
            let Problem { file, resource, reason } = problem;
            tracing::error!(file, resource, reason, "manifest refused: the table stays as it was");
        }
        if problems.is_empty() && !noted.is_empty() {
            tracing::info!("every manifest is followed again");
        }
        *noted = problems;
        self.turns.send_modify(|turns| *turns += 1);
    }
}
