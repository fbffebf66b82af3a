//! Making the tables what the manifests say.
//!
//! For each declared table:
//! 1. there is none: make it;
//! 2. it is a manifest's already (this resource's, or that of one which is gone, with its data retained): set its target;
//! 3. it was made through the API, or retained from another resource: taking it over is explicit (`bootstrap.adopt`);
//! 4. what is refused is noted, and the table stays as it was.
//!
//! Then for each table whose manifest is gone: remove it under `deletionPolicy: Delete`, else leave it to the API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream;

use partita_model::table::record::{Declared, Owner};

use super::super::catalog::Table;
use super::super::tables::Tables;
use super::folder::{self, Declaration, Folder};
use super::{Manifests, Problem};

/// Whose tables manifests declare: the account of a process without credentials.
pub const ACCOUNT: &str = "000000000000";

/// How long a manifest must be gone before its table is removed or let go: editors and version control replace files by
/// removing and making them.
const GONE_FOR: Duration = Duration::from_secs(1);
/// Tables that change at once: a large index being built does not hold up the others.
const TABLES_AT_ONCE: usize = 64;

/// How long one table is waited for. What takes longer (a large index being built) is looked at again, so that it does
/// not hold up what happens to the others.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// How a table stands to its manifest.
#[derive(Debug, PartialEq, Eq)]
enum Followed {
    /// It is what the manifest says.
    Done,
    /// It is on its way: look again.
    Busy,
}

/// Reads the folder and makes the tables what it says. `false` when some are still on their way.
pub async fn reconcile(tables: &Arc<Tables>, manifests: &Manifests) -> bool {
    let found = match read_settled(tables, &manifests.folder).await {
        Ok(found) => found,
        Err(problem) => {
            manifests.note(vec![problem]);
            return true;
        }
    };
    let mut problems = found.problems.clone();
    for table in gone(tables, &found) {
        problems.extend(let_go(tables, &table).await);
    }
    let followed = stream::iter(found.declarations.into_values().map(|declaration| async {
        let (file, resource) = (declaration.declared.file.clone(), declaration.declared.resource.clone());
        let followed = follow(tables, declaration).await;
        followed.map_err(|reason| Problem { file, resource, reason })
    }));
    let outcomes: Vec<Result<Followed, Problem>> = followed.buffered(TABLES_AT_ONCE).collect().await;
    let mut done = true;
    for outcome in outcomes {
        match outcome {
            Ok(followed) => done &= followed == Followed::Done,
            Err(problem) => problems.push(problem),
        }
    }
    manifests.note(problems);
    done
}

/// Reads the folder; again a little later when a manifest seems to be gone.
async fn read_settled(tables: &Tables, folder: &Path) -> Result<Folder, Problem> {
    let found = read(folder).await?;
    if gone(tables, &found).is_empty() {
        return Ok(found);
    }
    tokio::time::sleep(GONE_FOR).await;
    read(folder).await
}

async fn read(folder: &Path) -> Result<Folder, Problem> {
    let path = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || folder::read(&path)).await;
    let reason = match read {
        Ok(Ok(found)) => return Ok(found),
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    Err(Problem {
        file: folder.display().to_string(),
        resource: "the whole folder".to_owned(),
        reason,
    })
}

/// Makes one table what its manifest says.
async fn follow(tables: &Arc<Tables>, declaration: Declaration) -> Result<Followed, String> {
    let Declaration {
        declared,
        spec,
        adopt,
        paused,
    } = declaration;
    if paused {
        return Ok(Followed::Done);
    }
    let Some(table) = tables.catalog.table(ACCOUNT, &spec.name) else {
        if let Some(id) = adopt {
            return Err(format!(
                "spec.bootstrap.adopt: there is no table {id} here to take over"
            ));
        }
        let created = tables.create(ACCOUNT, spec, Owner::Manifest(declared));
        let table = created.map_err(|error| format!("spec.tableName: {}", error.message))?;
        return Ok(settled(tables, &table).await);
    };
    check_owner(&table, &declared, adopt.as_deref())?;
    // A table that is in the middle of something gets its target afterwards. Some changes take two turns: another
    // attribute for time to live needs it off first.
    for _turn in 0..2 {
        if settled(tables, &table).await == Followed::Busy {
            return Ok(Followed::Busy);
        }
        tables
            .declare(&table, spec.clone(), &declared)
            .map_err(|refused| refused.to_string())?;
    }
    Ok(settled(tables, &table).await)
}

async fn settled(tables: &Tables, table: &Table) -> Followed {
    match tokio::time::timeout(SETTLE_MAX, tables.settle(table)).await {
        Ok(()) => Followed::Done,
        Err(_) => Followed::Busy,
    }
}

/// Whether this resource may have the table.
fn check_owner(table: &Table, declared: &Declared, adopt: Option<&str>) -> Result<(), String> {
    let record = table.record();
    let id = format!("{:016x}", record.id.0);
    if adopt == Some(&id) {
        return Ok(());
    }
    let explicit = format!("to take it over with its data, say `bootstrap: {{adopt: \"{id}\"}}` in the spec");
    match &record.owner {
        Owner::Manifest(_) => Ok(()),
        Owner::Retained(before) if before.resource == declared.resource => Ok(()),
        Owner::Retained(before) => Err(format!(
            "spec.tableName: {} was retained from the resource {}; {explicit}",
            record.spec.name, before.resource
        )),
        Owner::Api => Err(format!(
            "spec.tableName: {} was made through the API; {explicit}",
            record.spec.name
        )),
    }
}

/// Tables of manifests that are gone.
fn gone(tables: &Tables, found: &Folder) -> Vec<Arc<Table>> {
    let mut all = tables.catalog.all();
    all.retain(|table| match &table.record().owner {
        Owner::Manifest(declared) => {
            !found.may_declare(declared) && !found.declarations.contains_key(&table.record().spec.name)
        }
        Owner::Api | Owner::Retained(_) => false,
    });
    all
}

/// Removes a table whose manifest is gone, or leaves it to the API.
async fn let_go(tables: &Arc<Tables>, table: &Arc<Table>) -> Option<Problem> {
    settled(tables, table).await;
    let record = table.record();
    let Owner::Manifest(declared) = &record.owner else {
        return None;
    };
    let name = &record.spec.name;
    let done = if declared.delete_with_manifest {
        tracing::info!(
            table = name,
            file = declared.file,
            "the manifest is gone: removing the table"
        );
        tables.remove(table).map(drop)
    } else {
        tracing::info!(
            table = name,
            file = declared.file,
            "the manifest is gone: the table stays (deletionPolicy)"
        );
        tables.release(table)
    };
    let reason = done.err()?.message.into_owned();
    Some(Problem {
        file: declared.file.clone(),
        resource: declared.resource.clone(),
        reason,
    })
}
