//! Where a plan's tables come from: files, and a cluster.

use std::io::Read;
use std::path::{Path, PathBuf};

use kube::api::ListParams;
use kube::{Api, Client};
use partita_crds::{Partition, Table, names};
use partita_planning::forecast::Current;
use partita_planning::repartition::Limits;

use crate::cli::CurrentSource;
use crate::manifest::{self, Document};

/// The file name that means standard input.
const STDIN: &str = "-";

/// A table that a file declares.
pub struct Manifest {
    /// The file.
    pub file: String,
    /// What it declares.
    pub document: Document,
}

/// Every table of these files; or everything that is wrong with them.
pub fn manifests(files: &[PathBuf]) -> Result<Vec<Manifest>, Vec<String>> {
    let mut manifests: Vec<Manifest> = Vec::new();
    let mut problems = Vec::new();
    for path in files {
        let file = path.display().to_string();
        let contents = match read(path).and_then(|text| manifest::parse(&text)) {
            Ok(contents) => contents,
            Err(reason) => {
                problems.push(format!("{file}: {reason}"));
                continue;
            }
        };
        for (number, reason) in contents.wrong {
            problems.push(format!("{file}: document {number}: {reason}"));
        }
        for document in contents.documents {
            let resource = document.resource();
            if let Some(other) = manifests.iter().find(|other| other.document.resource() == resource) {
                problems.push(format!("{file}: {resource} is declared in {} already", other.file));
                continue;
            }
            let file = file.clone();
            manifests.push(Manifest { file, document });
        }
    }
    if manifests.is_empty() && problems.is_empty() {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        problems.push(format!(
            "no Table ({}) in {}",
            partita_crds::API_VERSION,
            files.join(", ")
        ));
    }
    if problems.is_empty() {
        Ok(manifests)
    } else {
        Err(problems)
    }
}

fn read(path: &Path) -> Result<String, String> {
    if path == Path::new(STDIN) {
        let mut text = String::new();
        return match std::io::stdin().read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(error.to_string()),
        };
    }
    std::fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Each manifest's table as it is, if it is there.
pub fn current(
    source: &CurrentSource,
    manifests: &[Manifest],
    limits: &Limits,
) -> Result<Vec<Option<Current>>, Vec<String>> {
    match source {
        CurrentSource::File(path) => of_file(path, manifests, limits),
        CurrentSource::Kubernetes => of_cluster(manifests, limits),
    }
}

fn of_file(path: &PathBuf, wanted: &[Manifest], limits: &Limits) -> Result<Vec<Option<Current>>, Vec<String>> {
    let known = manifests(std::slice::from_ref(path))?;
    let same = |wanted: &Document, known: &Document| {
        // What kubectl prints names the namespace, what people write often does not.
        let namespaces = wanted.namespace.as_ref().zip(known.namespace.as_ref());
        wanted.name == known.name && namespaces.is_none_or(|(wanted, known)| wanted == known)
    };
    let find = |wanted: &Manifest| {
        let found = known.iter().find(|known| same(&wanted.document, &known.document))?;
        let mut table = Table::new(&found.document.name, found.document.spec.clone());
        table.status = found.document.status.clone();
        Some(Current::new(&table, [], limits))
    };
    Ok(wanted.iter().map(find).collect())
}

fn of_cluster(manifests: &[Manifest], limits: &Limits) -> Result<Vec<Option<Current>>, Vec<String>> {
    let away = |error: &dyn std::fmt::Display| vec![format!("--current kubernetes: {error}")];
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| away(&"TLS was set up twice"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| away(&error))?;
    runtime.block_on(async {
        let client = Client::try_default().await.map_err(|error| away(&error))?;
        let mut found = Vec::with_capacity(manifests.len());
        for manifest in manifests {
            found.push(
                ask(&client, &manifest.document, limits)
                    .await
                    .map_err(|error| away(&error))?,
            );
        }
        Ok(found)
    })
}

async fn ask(client: &Client, document: &Document, limits: &Limits) -> kube::Result<Option<Current>> {
    let namespace = document.namespace.as_deref().unwrap_or(client.default_namespace());
    let tables: Api<Table> = Api::namespaced(client.clone(), namespace);
    let Some(table) = tables.get_opt(&document.name).await? else {
        return Ok(None);
    };
    let partitions: Api<Partition> = Api::namespaced(client.clone(), namespace);
    let of_table = ListParams::default().labels(&format!("{}={}", names::TABLE, document.name));
    let partitions = partitions.list(&of_table).await?;
    Ok(Some(Current::new(&table, &partitions, limits)))
}
